"""The revisions, oldest first by their names; one that was released is never edited again."""
