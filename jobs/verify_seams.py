"""Agreement of the seam profiles with `images`: what a profile sorts by distance is what was counted."""

from __future__ import annotations

import duckdb

_SUMS = """
SELECT coalesce(i.source_uri, s.source_uri), s.source_id IS NOT NULL, i.source_id IS NOT NULL, i.pixels IS NOT NULL,
    coalesce(i.pixels_done + i.pixels_empty, 0), coalesce(s.pixels, 0), coalesce(i.object_count, 0),
    coalesce(s.objects, 0)
FROM images i FULL JOIN (
    SELECT source_id, any_value(source_uri) AS source_uri, sum(pixels) AS pixels, sum(object_count) AS objects
    FROM seams GROUP BY source_id
) s USING (source_id) ORDER BY ALL
"""

_BINS = """
SELECT any_value(source_uri), count(*) FILTER (zone = 'margin') AS margins,
    count(*) FILTER (zone <> 'margin') AS bins, coalesce(min(distance_min_px), 0) AS low,
    coalesce(sum(distance_max_px - distance_min_px), 0) AS covered, coalesce(max(distance_max_px), 0) AS high,
    count(*) FILTER (distance_min_px >= distance_max_px) AS hollow
FROM seams GROUP BY source_id
HAVING margins <> 1 OR low > 0 OR covered <> high - low OR hollow > 0 ORDER BY ALL
"""


def seams(connection: duckdb.DuckDBPyConnection, problems: list[str]) -> int:
    """Each source's bins follow one another, and add up to its valid pixels and its objects. Returns the sources."""
    sources = connection.execute(_SUMS).fetchall()
    for uri, has_profile, has_image, is_planned, pixels, found_pixels, objects, found in sources:
        if not has_image:
            problems.append(f"{uri}: has a seam profile but no row in images")
            continue
        if is_planned and not has_profile:
            problems.append(f"{uri}: has no seam profile")
            continue
        if found_pixels != pixels:
            problems.append(f"{uri}: its seam profile has {found_pixels} pixels, images has {pixels} done and empty")
        if found != objects:
            problems.append(f"{uri}: its seam profile has {found} objects, images has {objects}")
    for uri, margins, *_ in connection.execute(_BINS).fetchall():
        what = f"{margins} rows for the margin, expected 1" if margins != 1 else "bins that do not follow one another"
        problems.append(f"{uri}: its seam profile has {what}")
    return len(sources)
