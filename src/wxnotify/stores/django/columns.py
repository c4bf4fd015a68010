"""
Columns of text that compare and hold the same in every database.

The store writes by SQL of its own, whatever collation and character set the
project's database has:

- Keys and order numbers are compared byte for byte. In MySQL's usual collations
  'Abc' equals 'abc' and 'x' equals 'x '.
- Text holds every character. In a database that was made with MySQL's ``utf8``
  or ``latin1``, an emoji in an error would make the release fail.
"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import models


class TextColumn(models.Field):
    """
    Text of one column type in PostgreSQL, another in MySQL and MariaDB, another in SQLite.

    Args:
        postgresql: The type as PostgreSQL writes it, with its collation.

        mysql: As MySQL and MariaDB write it; bytes are read as UTF-8.

        sqlite: As SQLite writes it.

        options: As for any field.
    """

    def __init__(self, *, postgresql: str, mysql: str, sqlite: str, **options: Any) -> None:
        self._types = {"postgresql": postgresql, "mysql": mysql, "sqlite": sqlite}
        super().__init__(**options)

    def db_type(self, connection: Any) -> str:
        """Give the type in this connection's database."""
        if connection.vendor not in self._types:
            raise ImproperlyConfigured(
                f"wxnotify has no tables for {connection.vendor}: let a database router's allow_migrate send "
                "the app 'wxnotify' to PostgreSQL, MySQL, MariaDB or SQLite"
            )
        return self._types[connection.vendor]

    def deconstruct(self) -> tuple[str, str, list[Any], dict[str, Any]]:
        """Write the types into the migration."""
        name, path, arguments, options = super().deconstruct()
        return name, path, arguments, {**options, **self._types}

    def from_db_value(self, value: str | bytes, expression: object, connection: object) -> str:
        """Give text where the database keeps bytes."""
        return value if isinstance(value, str) else bytes(value).decode()
