-- The fulfillments in a few downloaded order files, and how many pieces the orders hold.
with
    documents as materialized(
        select
            try_cast(split_part(coalesce(__parentid, id), '/', -1) as bigint) as order_id,
            __parentid is null as is_root,
            quantity,
            fulfillments
        from
            read_json(
                $files,
                format = 'newline_delimited',
                ignore_errors = true,
                columns = {
                    'id':'VARCHAR',
                    '__parentId':'VARCHAR',
                    'quantity':'BIGINT',
                    'fulfillments':'STRUCT(id VARCHAR, status VARCHAR, totalQuantity BIGINT)[]'
                }
            )
        where len(fulfillments) > 0 or (id like 'gid://shopify/LineItem/%' and __parentid is not null)
    ),

    fulfillments as (select order_id, unnest(fulfillments) as fulfillment from documents where is_root)

select
    order_id,
    cast(sum(quantity) as bigint) as pieces,
    cast(null as bigint) as fulfillment_id,
    cast(null as boolean) as is_live,
    cast(null as bigint) as fulfilled
from documents
where not is_root
group by order_id
union all
select
    order_id,
    null as pieces,
    try_cast(split_part(fulfillment.id, '/', -1) as bigint) as fulfillment_id,
    fulfillment.status <> 'CANCELLED' as is_live,
    fulfillment.totalquantity as fulfilled
from fulfillments
