-- Units sold by variant, day and the location they leave from: where they were shipped. Units that were not yet leave
-- from where most of their line did; else from where the variant, or the shop, is shipped most often; else from the
-- first location that fulfils online.
with
    lines as (
        select order_line_id, variant_id, ordered_on, quantity
        from marts.fct_order_line
        where order_kind = 'sale' and is_reportable and not is_gift_card and variant_id is not null
    ),

    shipped as (
        select fulfillment_lines.order_line_id, fulfillments.location_id, sum(fulfillment_lines.quantity) as quantity
        from staging.stg_storefront__fulfillment_lines as fulfillment_lines
        inner join
            staging.stg_storefront__fulfillments as fulfillments
            on fulfillments.fulfillment_id = fulfillment_lines.fulfillment_id
        where fulfillments.status = 'success' and fulfillments.location_id is not null
        group by fulfillment_lines.order_line_id, fulfillments.location_id
    ),

    placed as (
        select
            lines.variant_id,
            lines.ordered_on,
            lines.quantity,
            shipped.location_id,
            coalesce(shipped.quantity, 0) as shipped_quantity,
            coalesce(
                sum(shipped.quantity) over (from_most rows between unbounded preceding and 1 preceding), 0
            ) as before_quantity,
            coalesce(sum(shipped.quantity) over (partition by lines.order_line_id), 0) as line_shipped_quantity,
            row_number() over from_most = 1 as is_main
        from lines
        left join shipped on shipped.order_line_id = lines.order_line_id
        window from_most as (partition by lines.order_line_id order by shipped.quantity desc, shipped.location_id)
    ),

    -- A line that was sent twice was sold once.
    parts as (
        select
            variant_id,
            ordered_on,
            location_id,
            greatest(least(shipped_quantity, quantity - before_quantity), 0)
            + case when is_main then greatest(quantity - line_shipped_quantity, 0) else 0 end as unit_count
        from placed
    ),

    usual as (
        select variant_id, mode(location_id order by location_id) as location_id
        from parts
        where location_id is not null
        group by variant_id
    ),

    shop as (
        select
            coalesce(
                (select mode(location_id order by location_id) from shipped),
                (
                    select location_id
                    from marts.dim_location
                    order by is_fulfilling_online desc, is_active desc, location_id
                    limit 1
                )
            ) as location_id
    )

select
    parts.variant_id,
    coalesce(parts.location_id, usual.location_id, shop.location_id) as location_id,
    parts.ordered_on as sold_on,
    cast(sum(parts.unit_count) as bigint) as unit_count
from parts
cross join shop
left join usual on usual.variant_id = parts.variant_id
where parts.unit_count > 0
group by all
