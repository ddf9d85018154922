-- Orders, lines, refunds and transactions of the staged versions are all in the facts, once.
with
    counts as (
        {% for staged, fact in [
            ("orders", "fct_order"),
            ("order_lines", "fct_order_line"),
            ("refunds", "fct_refund"),
            ("transactions", "fct_transaction"),
        ] %}
            select
                '{{ fact }}' as fact,
                (select count(*) from {{ ref("stg_storefront__" ~ staged) }}) as staged_count,
                (select count(*) from {{ ref(fact) }}) as fact_count
            {% if not loop.last %}
                union all
            {% endif %}
        {% endfor %}
    )

select *
from counts
where staged_count <> fact_count
