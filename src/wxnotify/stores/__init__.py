"""Where claims are kept: one file a backend, none imported until you import it."""
