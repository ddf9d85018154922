{#- Seconds from one moment to another, with their fraction. -#}
{% macro seconds_between(earlier, later) -%}
    cast(epoch_us({{ later }}) - epoch_us({{ earlier }}) as double) / 1000000
{%- endmacro %}

{#- p50, p95, p99 and the maximum of some seconds, as four columns. -#}
{% macro seconds_spread(name, seconds) -%}
    {%- for percent in (50, 95, 99) %}
        quantile_cont({{ seconds }}, {{ percent / 100 }}) as {{ name }}_p{{ percent }}_seconds,
    {%- endfor %}
    max({{ seconds }}) as {{ name }}_max_seconds
{%- endmacro %}
