"""Doubtful merges: objects that were put together from several windows on weak evidence.

Three kinds, a row each, of which the first that fits is told:

- `no partner`: a window cut it, and no other window saw where it goes on;
- `weak link`: no window saw it whole, and two windows' views that it is assembled from agree less than the threshold on
  the pixels that both saw;
- `incomplete`: no window saw it whole, and it touches pixels that could not be processed or lies beside missing slices,
  so what is missing of it is unknown. That a volume ends where it lies is no doubt about the merge.

A weak link of an object that one window saw whole is no doubt: the object does not need it. Objects of dense models are
joined pixel by pixel, so only the last kind exists there.
"""

# pyarrow has no type information.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from jobs.results import Results

WEAK = 0.5
"""Overlap (IoU) below which a link is doubtful unless told otherwise."""


def doubtful_sql(below: float = WEAK) -> str:
    """A SELECT of the doubtful merges, the weakest first. below: overlap under which a link is doubtful, 0 to 1."""
    # Inside a query of its own, because `images` has a column `reason` too. Objects of volumes (they have voxels) are
    # incomplete at the border as well; there only failed pixels within a pixel of their box count.
    return f"""SELECT * FROM (SELECT n.instance_id, n.source_uri, n.label,
    n.z_min, n.y_min, n.x_min, n.z_max, n.y_max, n.x_max, n.n_parts, n.n_views, n.min_link_overlap,
    CASE WHEN i.model_kind = 'instance' AND n.n_views = 1 THEN 'no partner'
        WHEN n.min_link_overlap < {float(below)!r} THEN 'weak link' ELSE 'incomplete' END AS reason
FROM instances n JOIN images i USING (source_id)
WHERE n.assembled AND ((i.model_kind = 'instance' AND n.n_views = 1)
    OR n.min_link_overlap < {float(below)!r}
    OR (NOT n.is_complete AND (NOT n.touches_border OR n.voxel_count IS NULL OR EXISTS (
        SELECT 1 FROM failures f WHERE f.scope = 'tile' AND f.source_id = n.source_id
        AND f.z_min <= n.z_max AND n.z_min <= f.z_max AND f.y_min <= n.y_max AND n.y_min <= f.y_max
        AND f.x_min <= n.x_max AND n.x_min <= f.x_max)))))
ORDER BY CASE WHEN reason = 'no partner' THEN 0 ELSE coalesce(min_link_overlap, 1) END,
    source_uri, z_min, y_min, x_min, instance_id"""


def count_doubtful(results: Results, below: float = WEAK) -> dict[str, int]:
    """How many doubtful merges there are of each kind; kinds without any are left out."""
    query = f"SELECT reason, count(*) AS merges FROM ({doubtful_sql(below)}) GROUP BY reason ORDER BY reason"
    return {str(row["reason"]): int(row["merges"]) for row in results.sql(query).to_pylist()}


def doubtful_line(counts: dict[str, int], below: float = WEAK) -> str:
    """The counts in one line for people. below: the threshold that they were counted with."""
    total = sum(counts.values())
    kinds = ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
    return f"{total:,} doubtful merges (overlap below {below:g})" + (f": {kinds}" if kinds else "")
