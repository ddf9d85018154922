"""Stable random parts of keys: the same key falls in the same place for ever, on every machine, for a given salt.

The first 32 bits of MD5(salt + separator + key), as a share of 2^32: uniform, and independent between salts.
"""

import duckdb
import polars as pl

_POSITIONS = "select ('0x' || md5(salted)[1:8])::bigint / 4294967296.0 as position from salted_keys"


def positions(keys: pl.Series, salt: str) -> pl.Series:
    """Each key's place in [0, 1)."""
    salted_keys = pl.DataFrame({"salted": pl.select(pl.format("{}\x1f{}", pl.lit(salt), keys.cast(pl.String))).to_series()})
    with duckdb.connect() as connection:
        connection.register("salted_keys", salted_keys)
        return connection.sql(_POSITIONS).pl()["position"]
