{#-
    A chance of churn in three bands. What is pushed is the band: the chance itself moves with every day, and every customer would be
    written every day for it.
-#}
{% macro churn_risk(rate) -%}
    case
        when {{ rate }} is null
        then null
        when {{ rate }} >= 0.7
        then 'high'
        when {{ rate }} >= 0.4
        then 'medium'
        else 'low'
    end
{%- endmacro %}
