"""The embedded PostgreSQL for development and tests. Not part of the application."""
