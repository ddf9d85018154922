{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_changed_orders() }}",
        post_hook="{{ note_taken() }}",
    )
}}

with
    transactions as (select * from {{ ref("stg_storefront__transactions") }} where {{ is_changed() }}),

    orders as (select * from {{ ref("int_orders__states") }} where {{ is_changed() }})

select
    -- ids
    transactions.transaction_id,
    transactions.parent_transaction_id,
    transactions.order_id,
    orders.customer_id,
    -- strings
    transactions.kind,
    transactions.status,
    transactions.gateway,
    transactions.error_code,
    transactions.currency_code,
    -- amounts
    transactions.amount,
    {{
        money(
            "case when transactions.status <> 'success' then 0"
            ~ " when transactions.kind in ('sale', 'capture') then transactions.amount"
            ~ " when transactions.kind in ('refund', 'change') then -transactions.amount else 0 end"
        )
    }} as cash_amount,
    -- booleans
    transactions.is_test or orders.is_test as is_test,
    transactions.status = 'success' as is_successful,
    orders.is_deleted,
    orders.is_reportable,
    -- times
    cast(coalesce(transactions.processed_at, transactions.created_at) as date) as transacted_on,
    transactions.created_at,
    transactions.processed_at,
    -- where it came from
    transactions._source_file,
    transactions._line,
    transactions._loaded_at,
    orders.document_version as _document_version
from transactions
inner join orders on orders.order_id = transactions.order_id
