"""Between your server and the receiver: one file a protocol, none imports a framework."""
