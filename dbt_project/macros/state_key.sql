{#- One text that changes when any of the columns does. -#}
{% macro state_key(columns) -%}
    {%- set parts = [] -%}
    {%- for column in columns -%}
        {%- do parts.append("coalesce(" ~ dbt.cast(column, api.Column.translate_type("string")) ~ ", '')") -%}
        {%- if not loop.last %} {%- do parts.append("'|'") -%} {% endif -%}
    {%- endfor -%}
    {{ dbt.hash(dbt.concat(parts)) }}
{%- endmacro %}
