{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_other_versions() }}",
    )
}}

-- A version keeps the build that brought it first, however often the order is built again for other reasons.
select
    orders.order_id,
    orders.updated_at as version_at,
    '{{ invocation_id }}' as build_id,
    cast(now() at time zone 'UTC' as timestamp) as built_at,
    {{ "false" if is_incremental() else "true" }} as is_backfilled
from {{ ref("fct_order") }} as orders
{% if is_incremental() -%}
    where not exists (select 1 from {{ this }} as held where held.order_id = orders.order_id)
{%- endif %}
