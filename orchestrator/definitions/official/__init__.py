"""The official schemas of Arazzo as the first pass over a document."""
