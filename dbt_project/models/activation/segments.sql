select
    -- ids
    segment_gid,
    -- strings
    destination,
    segment,
    -- counts
    desired_count,
    member_count,
    entered_count,
    left_count,
    -- booleans
    row_number() over (partition by destination, segment order by measured_at desc) = 1 as is_latest,
    -- times
    measured_at at time zone 'UTC' as measured_at
from {{ source("activation", "segments") }}
