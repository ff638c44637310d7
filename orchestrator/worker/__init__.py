"""All Celery: the app, its pool, the messages it takes and sends, what watchers see."""
