"""Archives of ended runs: Parquet files and manifests, wherever fsspec reaches.

The only home of pyarrow and fsspec (extra `archive`), loaded where an archive is
configured or named.

    runs/tenant=acme/day=2026-11-30/BATCH.parquet     the same for each table that has rows
    manifests/tenant=acme/day=2026-11-30/BATCH.json   written last: what the batch consists of
"""

from orchestrator.archive.files import open_archive

__all__ = ["open_archive"]
