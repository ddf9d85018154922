{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_changed_states() }}",
        post_hook="{{ queue_changed_states() }}",
    )
}}

with
    orders as (select * from {{ ref("stg_storefront__orders") }} where {{ is_changed() }}),

    kinds as (
        select
            order_id,
            customer_id,
            processed_at,
            {{ order_kind("source_name") }} as order_kind,
            not is_test and cancelled_at is null and not is_deleted as is_reportable,
            is_test,
            is_deleted,
            _version_at
        from orders
    ),

    -- A customer's first order is the first that counts: a cancelled or test order makes nobody a customer.
    sequenced as (
        select
            order_id,
            row_number() over (partition by customer_id order by processed_at, order_id) as customer_order_number
        from kinds
        where is_reportable and order_kind = 'sale' and customer_id is not null
    ),

    document_rows as (
        {% for child in [
            "orders",
            "order_lines",
            "discount_applications",
            "shipping_lines",
            "tax_lines",
            "transactions",
            "refunds",
            "refund_lines",
            "fulfillments",
            "fulfillment_lines",
        ] %}
            select order_id, _loaded_at
            from {{ ref("stg_storefront__" ~ child) }}
            where {{ is_changed() }}
            {% if not loop.last %}
                union all
            {% endif %}
        {% endfor %}
    ),

    documents as (
        select order_id, max(_loaded_at) as last_loaded_at, count(*) as row_count from document_rows group by order_id
    )

select
    kinds.order_id,
    kinds.customer_id,
    kinds.order_kind,
    kinds.is_test,
    kinds.is_deleted,
    kinds.is_reportable,
    sequenced.customer_order_number,
    documents.last_loaded_at,
    documents.row_count,
    {{
        state_key(
            [
                "kinds._version_at",
                "documents.last_loaded_at",
                "documents.row_count",
                "kinds.order_kind",
                "kinds.is_reportable",
                "kinds.is_deleted",
                "sequenced.customer_order_number",
            ]
        )
    }} as document_version
from kinds
inner join documents on documents.order_id = kinds.order_id
left join sequenced on sequenced.order_id = kinds.order_id
