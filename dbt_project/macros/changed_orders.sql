{#-
    Incremental facts of the order family. Every fact row keeps the `_document_version` of its order (see
    int_orders__states). Pre-hook, in the transaction of the insert: delete the rows of orders that changed, fell back or
    are gone, and list the orders to build.
-#}
{% macro forget_changed_orders() -%}
    {%- set states = ref("int_orders__states") -%}
    {%- if is_incremental() -%}
        delete from {{ this }}
        where
            not exists (
                select 1
                from {{ states }} as states
                where
                    states.order_id = {{ this.identifier }}.order_id
                    and states.document_version = {{ this.identifier }}._document_version
            )
        ;
        create or replace temporary table {{ this.identifier }}__changed as
        select order_id
        from {{ states }}
        where order_id not in (select order_id from {{ this }})
        ;
    {%- endif -%}
{%- endmacro %}

{#- The condition that keeps an incremental run to the orders listed above; true on a full build. -#}
{% macro is_changed(order_id="order_id") -%}
    {%- if is_incremental() %} {{ order_id }} in (select order_id from {{ this.identifier }}__changed)
    {%- else %} true
    {%- endif -%}
{%- endmacro %}

{#-
    int_orders__states: the orders whose documents changed (macros/lake_changes.sql), and all orders of their customers, old
    and new, since one order changes the numbers of the others.
-#}
{% macro forget_changed_states() -%}
    {%- set orders = ref("stg_storefront__orders") -%}
    {%- if is_incremental() -%}
        {%- set changed = this.identifier ~ "__changed" -%}
        create or replace temporary table {{ changed }} as
        {%- if run_query("select count(*) from bookkeeping.changed_documents where order_id is null").rows[0][0] %}
            select order_id
            from {{ orders }}
            union
            select order_id
            from {{ this }}
        {%- else %}
            with
                documents as (select distinct order_id from bookkeeping.changed_documents),

                customers as (
                    select customer_id
                    from {{ orders }}
                    where order_id in (select order_id from documents)
                    union
                    select customer_id
                    from {{ this }}
                    where order_id in (select order_id from documents)
                )

            select order_id
            from documents
            union
            select order_id
            from {{ orders }}
            where customer_id in (select customer_id from customers)
        {%- endif %}
        ;
        delete from {{ this }}
        where order_id in (select order_id from {{ changed }})
        ;
    {%- endif -%}
{%- endmacro %}
