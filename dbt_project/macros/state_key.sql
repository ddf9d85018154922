{#-
    One value that changes when any of the columns does. Only ever compared with another one of the same build file: a new
    engine version may compute it differently, and then everything counts as changed once.
-#}
{% macro state_key(columns) -%} {{ return(adapter.dispatch("state_key")(columns)) }} {%- endmacro %}

{% macro default__state_key(columns) -%}
    {%- set parts = [] -%}
    {%- for column in columns -%}
        {%- do parts.append("coalesce(" ~ dbt.cast(column, api.Column.translate_type("string")) ~ ", '')") -%}
        {%- if not loop.last %} {%- do parts.append("'|'") -%} {% endif -%}
    {%- endfor -%}
    {{ dbt.hash(dbt.concat(parts)) }}
{%- endmacro %}

{#- Texts of two times and their md5 cost more than everything else in int_orders__states. -#}
{% macro duckdb__state_key(columns) -%} cast(hash({{ columns | join(", ") }}) as varchar) {%- endmacro %}
