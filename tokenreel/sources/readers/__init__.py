"""Formats whose records have fields of their own: what is read of a file is `rows.Rows`, whatever the format."""
