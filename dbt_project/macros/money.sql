{#- Sums and products of money are wider than money; this brings them back (docs/decisions/004-money-four-decimals.md). -#}
{% macro money(expression) -%} cast({{ expression }} as decimal(18, 4)) {%- endmacro %}
