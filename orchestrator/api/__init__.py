"""The REST face: FastAPI over the services. No decisions are made here."""
