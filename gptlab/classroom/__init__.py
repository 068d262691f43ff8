"""Teaching with the course: what a lesson contains, and the pages and slides that are made from it."""
