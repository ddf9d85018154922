{#-
    `credit` for a credit note that belongs to no order we know; `sale` for everything else.
    Who makes such credits is told in docs/decisions/010-online-retail-classes.md.
-#}
{% macro order_kind(source_name, tags) -%}
    case when list_contains({{ tags }}, '{{ var("credit_order_tag") }}') then 'credit' else 'sale' end
{%- endmacro %}
