"""Agreement between the published tables: the ledger closes, counts match rows, failures are told.

Each check takes the sandboxed connection of `jobs.results`, appends problems to a list and returns how many things it
compared.
"""

from __future__ import annotations

import duckdb
import numpy as np
from numpy.typing import NDArray

from segworkers.segmenters.two_stage import NO_ORGAN

_KINDS = ("done", "empty", "nodata", "failed")
_SUM = " + ".join(f"pixels_{kind}" for kind in _KINDS)
_SUM_OF_IMAGE = " + ".join(f"i.pixels_{kind}" for kind in _KINDS)
_LARGEST_GRID = 50_000_000

_LEDGER_SQL = f"""
SELECT i.source_uri, i.status, i.pixels, i.depth * i.height * i.width AS volume, {_SUM_OF_IMAGE} AS total, t.tiles,
    t.pixels AS tile_pixels,
    {", ".join(f"i.pixels_{kind} AS image_{kind}, t.{kind} AS tiles_{kind}" for kind in _KINDS)}
FROM images i LEFT JOIN (
    SELECT source_id, count(*) AS tiles, sum(pixels) AS pixels,
        {", ".join(f"sum(pixels_{kind}) AS {kind}" for kind in _KINDS)}
    FROM tiles GROUP BY source_id
) t USING (source_id) ORDER BY i.source_uri
"""

Connection = duckdb.DuckDBPyConnection


def rows(connection: Connection, query: str) -> list[tuple[object, ...]]:
    """All rows of a query."""
    return connection.execute(query).fetchall()


def ledger(connection: Connection, problems: list[str]) -> int:
    """done + empty + nodata + failed = pixels, in each tile, in each image, and between the two."""
    query = f"SELECT source_uri, tile, pixels, {_SUM} AS total FROM tiles WHERE total <> pixels ORDER BY ALL"
    for uri, tile, pixels, total in rows(connection, query):
        problems.append(f"{uri} tile {tile}: done + empty + nodata + failed = {total}, its core has {pixels} pixels")
    for uri, count in rows(connection, "SELECT source_uri, count(*) FROM images GROUP BY ALL HAVING count(*) > 1"):
        problems.append(f"{uri}: {count} rows in images, expected one")
    query = "SELECT DISTINCT source_uri FROM tiles WHERE source_id NOT IN (SELECT source_id FROM images) ORDER BY 1"
    problems += [f"{uri}: has tiles but no row in images" for (uri,) in rows(connection, query)]
    images = rows(connection, _LEDGER_SQL)
    for image in images:
        problems += [f"{image[0]}: {problem}" for problem in _image_problems(image)]
    return len(images)


def _image_problems(image: tuple[object, ...]) -> list[str]:
    _, status, pixels, volume, total, tiles, tile_pixels, *kinds = image
    if pixels is None:
        problems = [] if status == "failed" else [f"status {status}, but its pixels are unknown"]
        return problems + ([f"its pixels are unknown, but it has {tiles} tiles"] if tiles else [])
    problems: list[str] = []
    if volume != pixels:
        problems.append(f"depth x height x width = {volume}, expected its {pixels} pixels")
    if total != pixels:
        problems.append(f"done + empty + nodata + failed = {total}, expected its {pixels} pixels")
    if tiles is None:
        return problems if status == "failed" else [*problems, f"status {status}, but it has no tiles"]
    if tile_pixels != pixels:
        problems.append(f"its tiles' cores have {tile_pixels} pixels together, expected {pixels}")
    for kind, of_image, of_tiles in zip(_KINDS, kinds[::2], kinds[1::2], strict=True):
        if of_image != of_tiles:
            problems.append(f"pixels_{kind} is {of_image} in images and {of_tiles} over its tiles")
    return problems


def cores(connection: Connection, problems: list[str]) -> int:
    """The cores of each source's tiles cover it and are pairwise disjoint."""
    query = """SELECT source_id, any_value(source_uri), any_value(depth), any_value(height), any_value(width)
        FROM images WHERE pixels IS NOT NULL AND source_id IN (SELECT source_id FROM tiles)
        GROUP BY source_id ORDER BY 2"""
    checked = 0
    for source_id, uri, *shape in rows(connection, query):
        columns = connection.execute(
            "SELECT z_min, y_min, x_min, z_max, y_max, x_max, pixels FROM tiles WHERE source_id = ?", [source_id]
        ).fetchnumpy()
        table = np.stack([np.asarray(column, np.int64) for column in columns.values()], axis=1)
        checked += len(table)
        boxes, pixels = table[:, :6], table[:, 6]
        problem = partition_problem(boxes, (int(str(shape[0])), int(str(shape[1])), int(str(shape[2]))))
        if problem:
            problems.append(f"{uri}: {problem}")
        elif (wrong := np.flatnonzero((boxes[:, 3:] - boxes[:, :3]).prod(axis=1) != pixels)).size:
            problems.append(f"{uri}: {wrong.size} tiles count other pixels than their core has")
    return checked


def partition_problem(boxes: NDArray[np.int64], shape: tuple[int, int, int]) -> str:
    """Why boxes (n, 6) of z0, y0, x0, z1, y1, x1 do not partition [0, shape); empty where they do.

    The distinct edges of all boxes cut the source into a coarse grid; each of its cells must be covered exactly once.
    Boxes that partition a grid have about as many cells as boxes, so this costs what sorting the edges costs.
    """
    low, high = boxes[:, :3], boxes[:, 3:]
    if (low >= high).any():
        return "a core is empty"
    if (low < 0).any() or (high > np.array(shape)).any():
        return f"a core reaches beyond the source's {shape[0]} x {shape[1]} x {shape[2]} pixels"
    edges = [np.unique(np.concatenate([[0, shape[axis]], low[:, axis], high[:, axis]])) for axis in range(3)]
    if np.prod([len(edge) for edge in edges], dtype=np.float64) > _LARGEST_GRID:
        return "the cores do not lie on a grid"
    change = np.zeros([len(edge) for edge in edges], np.int32)
    for corner in np.ndindex(2, 2, 2):
        index = [np.searchsorted(edges[axis], (high if far else low)[:, axis]) for axis, far in enumerate(corner)]
        np.add.at(change, tuple(index), (-1) ** sum(corner))
    covered = change.cumsum(0).cumsum(1).cumsum(2)[:-1, :-1, :-1]
    wrong = np.argwhere(covered != 1)
    if not len(wrong):
        return ""
    at = ", ".join(f"{name} {edges[axis][wrong[0][axis]]}" for axis, name in enumerate("zyx"))
    times = int(covered[tuple(wrong[0])])
    return f"the pixels from {at} on lie in {times} cores, expected 1"


def failures(connection: Connection, problems: list[str]) -> int:
    """Every failed tile and every failed source is told in `failures`."""
    query = """SELECT source_uri, tile, EXISTS (
            SELECT 1 FROM failures f WHERE f.source_id = t.source_id AND (f.tile = t.tile OR f.scope = 'input'))
        FROM tiles t WHERE status = 'failed' OR pixels_failed > 0 ORDER BY ALL"""
    failed = rows(connection, query)
    problems += [f"{uri} tile {tile}: failed, but has no row in failures" for uri, tile, told in failed if not told]
    query = "SELECT source_uri, tile, status, pixels_failed FROM tiles WHERE (status = 'failed') <> (pixels_failed > 0)"
    problems += [
        f"{uri} tile {tile}: status {status} with {n} failed pixels" for uri, tile, status, n in rows(connection, query)
    ]
    query = """SELECT source_uri, EXISTS (SELECT 1 FROM failures f WHERE f.source_id = i.source_id)
        FROM images i WHERE status <> 'done' ORDER BY ALL"""
    sources = rows(connection, query)
    problems += [f"{uri}: not done, but has no row in failures" for uri, told in sources if not told]
    return len(failed) + len(sources)


def counts(connection: Connection, problems: list[str]) -> int:
    """Rows of `instances` for each source and class = what `images` says."""
    query = """SELECT coalesce(c.source_uri, n.source_uri), coalesce(c.label, n.label), c.object_count, n.objects,
            c.pixel_count, n.pixels
        FROM (SELECT * FROM classes WHERE label IS NOT NULL) c FULL JOIN (
            SELECT source_id, any_value(source_uri) AS source_uri, label, count(*) AS objects,
                sum(pixel_count) AS pixels
            FROM instances GROUP BY source_id, label
        ) n ON c.source_id = n.source_id AND c.label = n.label
        WHERE c.object_count IS DISTINCT FROM coalesce(n.objects, 0)
            OR c.pixel_count IS DISTINCT FROM coalesce(n.pixels, 0)
        ORDER BY ALL"""
    for uri, label, said, found, said_pixels, found_pixels in rows(connection, query):
        problems.append(
            f"{uri} {label}: images says {said} objects of {said_pixels} pixels, "
            f"instances has {found or 0} of {found_pixels or 0}"
        )
    query = """SELECT source_uri, object_count, list_sum(list_transform(classes, lambda c: c.object_count)) AS total
        FROM images WHERE object_count IS DISTINCT FROM total ORDER BY ALL"""
    for uri, said, total in rows(connection, query):
        problems.append(f"{uri}: object_count is {said}, its classes add up to {total}")
    query = f"""SELECT source_uri, status, reason, object_count FROM images
        WHERE status <> 'failed' AND (object_count IS NULL) <> coalesce(contains(reason, '{NO_ORGAN}'), false)"""
    for uri, status, reason, said in rows(connection, query):
        problems.append(
            f"{uri}: status {status}, reason {reason}, but its count is {'unknown' if said is None else said}"
        )
    (count,) = rows(connection, "SELECT count(*) FROM images")[0]
    return int(str(count))


def identity(connection: Connection, problems: list[str]) -> int:
    """instance_id is unique, mask_value is 1..n in each source, boxes lie within their source."""
    query = "SELECT instance_id, count(*) FROM instances GROUP BY ALL HAVING count(*) > 1 ORDER BY ALL"
    problems += [f"instance_id {key} appears {count} times" for key, count in rows(connection, query)]
    query = """SELECT any_value(source_uri), count(*) AS n, min(mask_value) AS low, max(mask_value) AS high,
            count(DISTINCT mask_value) AS distinct_values
        FROM instances GROUP BY source_id HAVING low <> 1 OR high <> n OR distinct_values <> n ORDER BY ALL"""
    for uri, count, low, high, distinct in rows(connection, query):
        problems.append(f"{uri}: mask_value runs {low}..{high} with {distinct} values, expected 1..{count}")
    query = """SELECT instance_id, s.source_uri FROM instances s LEFT JOIN images i USING (source_id)
        WHERE i.source_id IS NULL OR z_min < 0 OR y_min < 0 OR x_min < 0
            OR z_max > depth OR y_max > height OR x_max > width
            OR pixel_count < 1 OR pixel_count > (z_max - z_min) * (y_max - y_min) * (x_max - x_min) ORDER BY ALL"""
    for key, uri in rows(connection, query):
        problems.append(f"instance {key}: has an impossible size or lies outside its source {uri}")
    (count,) = rows(connection, "SELECT count(*) FROM instances")[0]
    return int(str(count))


def lower_bounds(connection: Connection, problems: list[str]) -> int:
    """Failed pixels, missing slices and incomplete objects are flagged: in the status, and as lower bounds.

    Objects of volumes at the edge of the field of view are not complete either; no count suffers from that.
    """
    query = """SELECT i.source_uri, i.status, i.is_lower_bound, coalesce(i.pixels_failed, 0),
            coalesce(s.missing_slices, 0), coalesce(n.incomplete, 0)
        FROM images i LEFT JOIN (
            SELECT source_id, count(*) FILTER (NOT is_complete AND NOT (touches_border AND voxel_count IS NOT NULL))
                AS incomplete FROM instances GROUP BY source_id
        ) n USING (source_id) LEFT JOIN (
            SELECT source_id, max(missing_slices) AS missing_slices FROM series GROUP BY source_id
        ) s USING (source_id) ORDER BY ALL"""
    images = rows(connection, query)
    for uri, status, flagged, failed, missing, incomplete in images:
        if (status != "done" or failed or missing or incomplete) and not flagged:
            problems.append(
                f"{uri}: status {status}, {failed} failed pixels, {missing} missing slices, {incomplete} incomplete "
                "objects, but its totals are not marked as lower bounds"
            )
        if failed and status == "done":
            problems.append(f"{uri}: status done with {failed} failed pixels")
        if incomplete and not failed and not missing:
            problems.append(f"{uri}: {incomplete} objects touch failed pixels, but no pixel failed")
    return len(images)
