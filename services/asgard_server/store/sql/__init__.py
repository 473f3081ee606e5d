"""What SQL is the truth of, written once for SQLite and PostgreSQL.

`session` is the port: statements in a transaction. `sqlite` and `postgres` are its two engines;
each other module holds the statements of one group of tables.
"""
