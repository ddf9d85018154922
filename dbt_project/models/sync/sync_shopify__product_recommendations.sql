with
    recommendations as (select * from {{ source("scores", "product_recommendations") }}),

    -- What may be shown now: stock is what the catalogue says since the lists were made.
    sellable as (
        select product_id
        from {{ ref("dim_variant") }}
        where
            product_status = 'active'
            and not is_deleted
            and not is_gift_card
            and (not is_tracked or inventory_policy = 'continue' or inventory_quantity > 0)
        group by product_id
    ),

    products as (select product_id, product_gid from {{ ref("dim_product") }} where not is_deleted),

    lists as (
        select
            recommendations.product_id,
            list(others.product_gid order by recommendations.rank) filter (
                where recommendations.kind = 'related'
            ) as related_product_gids,
            list(others.product_gid order by recommendations.rank) filter (
                where recommendations.kind = 'complementary'
            ) as complementary_product_gids,
            max(recommendations.as_of_on) as as_of_on,
            max(recommendations.scored_at) as scored_at
        from recommendations
        inner join sellable on sellable.product_id = recommendations.recommended_product_id
        inner join products as others on others.product_id = recommendations.recommended_product_id
        where recommendations.recommended_product_id <> recommendations.product_id
        group by recommendations.product_id
    )

select
    products.product_gid,
    products.product_id,
    coalesce(lists.related_product_gids, []) as related_product_gids,
    coalesce(lists.complementary_product_gids, []) as complementary_product_gids,
    lists.as_of_on,
    lists.scored_at at time zone 'UTC' as scored_at
from lists
inner join products on products.product_id = lists.product_id
