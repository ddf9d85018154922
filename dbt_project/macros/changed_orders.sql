{#-
    Incremental facts of the order family. int_orders__states numbers its runs and queues the orders whose
    `document_version` it changed (`bookkeeping.state_changes`; a row without an order stands for every order). Each fact
    remembers the last number it took (`bookkeeping.taken`), in the transaction of its rows, and nothing is removed from the
    queue because somebody took it: a run that ends between two models is made good by the next.

    Pre-hook: list the orders to build and delete the rows they have. A fact that took nothing yet, or too long ago, is
    compared whole: every row keeps the `_document_version` of its order.
-#}
{% macro forget_changed_orders() -%}
    {%- if is_incremental() -%}
        {%- set states, changed = ref("int_orders__states"), this.identifier ~ "__changed" -%}
        {%- if is_every_state_changed() -%}
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
            create or replace temporary table {{ changed }} as
            select order_id
            from {{ states }}
            where order_id not in (select order_id from {{ this }})
            ;
        {%- else -%}
            create or replace temporary table {{ changed }} as
            select distinct order_id
            from bookkeeping.state_changes
            where change_no > {{ taken_no() }}
            ;
            delete from {{ this }}
            where order_id in (select order_id from {{ changed }})
            ;
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}

{#-
    Post-hook: the model holds everything that is queued by now or, if it reads facts, as much as the least of them holds.
-#}
{% macro note_taken(facts=none) -%}
    {%- set taken_no -%}
        {%- if facts %}
            select case when count(*) = {{ facts | length }} then min(change_no) else 0 end
            from bookkeeping.taken
            where model in ('{{ facts | join("', '") }}')
        {%- else %}
            select coalesce(max(change_no), 0)
            from bookkeeping.state_changes
        {%- endif %}
    {%- endset -%}
    create or replace temporary table {{ this.identifier }}__taken as
    select '{{ this.identifier }}' as model, ({{ taken_no }}) as change_no
    ;
    delete from bookkeeping.taken
    where model = '{{ this.identifier }}'
    ;
    insert into bookkeeping.taken
    select model, change_no
    from {{ this.identifier }}__taken
    ;
{%- endmacro %}

{% macro taken_no() -%}
    (select max(change_no) from bookkeeping.taken where model = '{{ this.identifier }}')
{%- endmacro %}

{#- The queue does not tell what changed since the model was last built. -#}
{% macro is_every_state_changed() -%}
    {%- set notes -%}
        select
            {{ taken_no() }} is null
            or coalesce(min(change_no), 0) > {{ taken_no() }} + 1
            or coalesce(bool_or(order_id is null and change_no > {{ taken_no() }}), false)
        from bookkeeping.state_changes
    {%- endset -%}
    {{ return(run_query(notes).rows[0][0]) }}
{%- endmacro %}

{#- The condition that keeps an incremental run to the orders listed above; true on a full build. -#}
{% macro is_changed(order_id="order_id") -%}
    {%- if is_incremental() %} {{ order_id }} in (select order_id from {{ this.identifier }}__changed)
    {%- else %} true
    {%- endif -%}
{%- endmacro %}

{#-
    customer_360: pre-hook that lists the customers to build, those of queued orders (before and after the change) and those
    whose own columns changed, and deletes their rows.
-#}
{% macro forget_changed_customers() -%}
    {%- if is_incremental() -%}
        {%- set customers, changed = ref("dim_customer"), this.identifier ~ "__changed" -%}
        {%- set columns = (
            "customer_id, country_code, is_email_subscribed, is_sms_subscribed, is_deleted, created_at"
        ) -%}
        create or replace temporary table {{ changed }} as
        {%- if is_every_state_changed() %}
            select customer_id
            from {{ customers }}
            union
            select customer_id
            from {{ this }}
        {%- else %}
            select customer_id
            from bookkeeping.state_changes
            where change_no > {{ taken_no() }} and customer_id is not null
            union
            select customer_id
            from (select {{ columns }} from {{ customers }} except select {{ columns }} from {{ this }})
            union
            select customer_id
            from (select {{ columns }} from {{ this }} except select {{ columns }} from {{ customers }})
            union
            {#- Who ordered nothing has the currency of the account. #}
            select held.customer_id
            from {{ this }} as held
            inner join {{ customers }} as customers on customers.customer_id = held.customer_id
            where held.order_count = 0 and held.currency_code is distinct from customers.currency_code
        {%- endif %}
        ;
        delete from {{ this }}
        where customer_id in (select customer_id from {{ changed }})
        ;
    {%- endif -%}
{%- endmacro %}

{% macro is_changed_customer() -%}
    {%- if is_incremental() %} customer_id in (select customer_id from {{ this.identifier }}__changed)
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
        create or replace temporary table {{ this.identifier }}__held as
        select order_id, customer_id, document_version
        from {{ this }}
        where order_id in (select order_id from {{ changed }})
        ;
        delete from {{ this }}
        where order_id in (select order_id from {{ changed }})
        ;
    {%- endif -%}
{%- endmacro %}

{#- Post-hook of int_orders__states: the documents are incorporated; queue the orders whose state is not what it was. -#}
{% macro queue_changed_states() -%}
    {%- set next_no = "(select coalesce(max(change_no), 0) + 1 from bookkeeping.state_changes)" -%}
    insert into bookkeeping.state_changes
    {%- if is_incremental() %}
        select {{ next_no }}, changed.order_id, unnest([held.customer_id, states.customer_id])
        from (select distinct order_id from {{ this.identifier }}__changed) as changed
        left join {{ this.identifier }}__held as held on held.order_id = changed.order_id
        left join {{ this }} as states on states.order_id = changed.order_id
        where changed.order_id is not null and held.document_version is distinct from states.document_version
        ;
        delete from bookkeeping.state_changes
        where change_no <= (select max(change_no) - {{ var("order_changes_kept") }} from bookkeeping.state_changes)
        ;
    {%- else %}
        select {{ next_no }}, null, null
        ;
        delete from bookkeeping.state_changes
        where change_no < (select max(change_no) from bookkeeping.state_changes)
        ;
    {%- endif %}
    delete from bookkeeping.changed_documents
    ;
{%- endmacro %}
