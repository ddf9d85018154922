{#-
    `credit` for a credit note that belongs to no order we know: an order of its own, received and refunded whole
    (docs/decisions/010-online-retail-classes.md). `sale` for everything else.
-#}
{% macro order_kind(source_name) -%}
    case when {{ source_name }} = '{{ var("credit_source_name") }}' then 'credit' else 'sale' end
{%- endmacro %}
