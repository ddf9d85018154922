-- Units sold by variant, day and the location they leave from: the one that shipped the line; else the one that ships
-- the
-- variant, or the shop, most often; else the first that fulfils online.
with
    lines as (
        select order_line_id, variant_id, ordered_on, quantity
        from marts.fct_order_line
        where order_kind = 'sale' and is_reportable and not is_gift_card and variant_id is not null
    ),

    shipped as (
        select fulfillment_lines.order_line_id, min(fulfillments.location_id) as location_id
        from staging.stg_storefront__fulfillment_lines as fulfillment_lines
        inner join
            staging.stg_storefront__fulfillments as fulfillments
            on fulfillments.fulfillment_id = fulfillment_lines.fulfillment_id
        where fulfillments.status = 'success' and fulfillments.location_id is not null
        group by fulfillment_lines.order_line_id
    ),

    usual as (
        select lines.variant_id, mode(shipped.location_id order by shipped.location_id) as location_id
        from lines
        inner join shipped on shipped.order_line_id = lines.order_line_id
        group by lines.variant_id
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
    lines.variant_id,
    coalesce(shipped.location_id, usual.location_id, shop.location_id) as location_id,
    lines.ordered_on as sold_on,
    cast(sum(lines.quantity) as bigint) as unit_count
from lines
cross join shop
left join shipped on shipped.order_line_id = lines.order_line_id
left join usual on usual.variant_id = lines.variant_id
group by all
