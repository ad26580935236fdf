"""`just update`: brings the project to a newer version of its template. Not part of the image."""
