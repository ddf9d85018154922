with
    source as (  -- The last sweep that found an id; older sweeps are history.
        select *
        from {{ source("storefront", "swept_ids") }}
        qualify row_number() over (partition by object_type, object_id order by swept_at desc, _loaded_at desc) = 1
    ),

    renamed as (
        select
            -- ids
            object_id,
            -- strings
            object_type,
            -- timestamps
            swept_at at time zone 'UTC' as swept_at,
            -- where it came from
            _source_file,
            _line,
            _loaded_at at time zone 'UTC' as _loaded_at,
            _version_at at time zone 'UTC' as _version_at,
        from source
    )

select *
from renamed
