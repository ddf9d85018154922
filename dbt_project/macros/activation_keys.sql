{#- The customer that a record of a sync is about, by the number at the end of its key (a gid, or the number alone); null for other keys. -#}
{% macro customer_of_key(key) -%}
    try_cast(nullif(regexp_extract({{ key }}, '^(?:gid://shopify/Customer/)?([0-9]+)$', 1), '') as bigint)
{%- endmacro %}

{#- The product that a record of a sync is about; null for other keys. It is nobody's, so it may be shown where keys are masked. -#}
{% macro product_of_key(key) -%}
    try_cast(nullif(regexp_extract({{ key }}, '^gid://shopify/Product/([0-9]+)$', 1), '') as bigint)
{%- endmacro %}
