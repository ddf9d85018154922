with
    replenishment as (select * from {{ source("scores", "replenishment") }}),

    series as (select * from {{ source("scores", "demand_series") }}),

    ahead as (
        select variant_id, location_id, sum(expected_units) as expected_units, count(*) as forecast_days
        from {{ source("scores", "demand_forecast") }}
        group by variant_id, location_id
    ),

    variants as (select * from {{ ref("dim_variant") }}),

    locations as (select * from {{ ref("dim_location") }})

select
    -- ids
    replenishment.variant_id,
    replenishment.location_id,
    variants.product_id,
    variants.inventory_item_id,
    -- strings
    variants.sku,
    variants.product_title,
    variants.variant_title,
    variants.vendor,
    variants.product_type,
    locations.location_name,
    case
        when replenishment.daily_units is null
        then 'no_forecast'
        when replenishment.available_count <= 0 and replenishment.days_of_cover is not null
        then 'out_of_stock'
        when replenishment.suggested_order_count > 0
        then 'reorder'
        when replenishment.is_overstock
        then 'overstock'
        when replenishment.days_of_cover is null
        then 'no_demand'
        else 'healthy'
    end as stock_status,
    series.series_class,
    replenishment.reasons,
    replenishment.receipt_id,
    replenishment.currency_code,
    -- counts
    replenishment.available_count,
    replenishment.incoming_count,
    replenishment.daily_units,
    ahead.expected_units as forecast_units,
    cast(ahead.forecast_days as integer) as forecast_days,
    replenishment.lead_time_days,
    replenishment.days_of_cover,
    replenishment.safety_stock_count,
    replenishment.sync_buffer_count,
    replenishment.reorder_point_count,
    replenishment.overstock_count,
    replenishment.suggested_order_count,
    -- amounts
    {{ money("greatest(replenishment.available_count, 0) * variants.unit_cost_amount") }} as stock_value_amount,
    replenishment.overstock_amount,
    replenishment.suggested_order_amount,
    {{ money("replenishment.daily_units * variants.price_amount") }} as daily_revenue_amount,
    -- rates
    replenishment.stock_out_rate,
    replenishment.service_level,
    -- booleans
    replenishment.has_lead_time,
    coalesce(replenishment.is_overstock, false) as is_overstock,
    coalesce(variants.is_deleted, true) as is_deleted,
    -- times
    replenishment.as_of_on,
    replenishment.scored_at at time zone 'UTC' as scored_at,
    replenishment.valid_until at time zone 'UTC' as valid_until
from replenishment
left join series on series.variant_id = replenishment.variant_id and series.location_id = replenishment.location_id
left join ahead on ahead.variant_id = replenishment.variant_id and ahead.location_id = replenishment.location_id
left join variants on variants.variant_id = replenishment.variant_id
left join locations on locations.location_id = replenishment.location_id
