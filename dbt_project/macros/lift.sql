{#-
    Statistics of the difference between the means of two arms; each macro is an expression over columns. Intervals are of 95 %.

    Welch's interval is right for ONE look at a time fixed before: whoever looks daily until it excludes zero is wrong far more
    often than once in twenty. The other two may be looked at again and again.
-#}
{#- Variance of the difference of two independent means. -#}
{% macro difference_variance(variance_1, count_1, variance_2, count_2) -%}
    ({{ variance_1 }} / {{ count_1 }} + {{ variance_2 }} / {{ count_2 }})
{%- endmacro %}

{#- Welch and Satterthwaite's degrees of freedom. -#}
{% macro welch_degrees(variance_1, count_1, variance_2, count_2) -%}
    (
        pow({{ difference_variance(variance_1, count_1, variance_2, count_2) }}, 2) / (
            pow({{ variance_1 }} / {{ count_1 }}, 2) / ({{ count_1 }} - 1)
            + pow({{ variance_2 }} / {{ count_2 }}, 2) / ({{ count_2 }} - 1)
        )
    )
{%- endmacro %}

{#-
    Half width of Welch's interval. The t quantile is Cornish and Fisher's expansion around the normal one (Abramowitz and Stegun
    26.7.5), which is off by less than 0.01 % from 20 degrees of freedom on.
-#}
{% macro welch_half_width(variance, degrees) -%}
    {%- set z = 1.959963984540054 -%}
    (
        sqrt({{ variance }}) * (
            {{ z }}
            + {{ (z**3 + z) / 4 }} / {{ degrees }}
            + {{ (5 * z**5 + 16 * z**3 + 3 * z) / 96 }} / pow({{ degrees }}, 2)
            + {{ (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384 }} / pow({{ degrees }}, 3)
        )
    )
{%- endmacro %}

{#-
    Half width of the asymptotic confidence sequence, for figures to which every customer adds one outcome that does not change
    any more: valid at all numbers of customers at once (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2021, theorem 2.2):

        sd * sqrt(2 (n rho^2 + 1) / (n^2 rho^2) * log(sqrt(n rho^2 + 1) / alpha))

    The arms are one sequence of n customers whose summand is the outcome less its arm's mean, divided by the arm's share (with a
    minus for those held out): its mean is the difference of means, and its variance sd^2 is n times the variance of that
    difference. Rho makes it narrowest at `tuned_count` customers (their appendix on tuning).
-#}
{% macro sequence_half_width(variance, count, tuned_count) -%}
    {%- set rho_squared = "(-2 * ln(0.05) + ln(-2 * ln(0.05) + 1)) / " ~ tuned_count -%}
    {%- set growth = "(" ~ count ~ " * (" ~ rho_squared ~ ") + 1)" -%}
    sqrt({{ variance }} * 2 * {{ growth }} / ({{ growth }} - 1) * ln(sqrt({{ growth }}) / 0.05))
{%- endmacro %}

{#-
    Half width for figures that go on changing for every customer: the look of day k may be wrong with a chance of
    0.05 * 6 / (pi k)^2, which sums to 0.05 over all days, whatever looks have to do with each other. Of a normal variable,
    exp(-z^2 / 2) bounds the chance of lying beyond z on either side.
-#}
{% macro daily_half_width(variance, day) -%}
    sqrt({{ variance }} * 2 * ln(pow(pi() * {{ day }}, 2) / (6 * 0.05)))
{%- endmacro %}

{#-
    Chance that a standard normal variable lies as far out as z on either side: the complementary error function of |z| / sqrt(2)
    by a rational Chebyshev fit (Press et al., Numerical Recipes, section 6.2), off by 0.00002 % of itself at most.
-#}
{% macro normal_p_value(z) -%}
    {%- set x = "(abs(" ~ z ~ ") / sqrt(2))" -%}
    {%- set t = "(1 / (1 + 0.5 * " ~ x ~ "))" -%}
    {%- set fit = namespace(sum="0.17087277") -%}
    {%- for coefficient in [
        -0.82215223,
        1.48851587,
        -1.13520398,
        0.27886807,
        -0.18628806,
        0.09678418,
        0.37409196,
        1.00002368,
        -1.26551223,
    ] -%}
        {%- set fit.sum = "(" ~ coefficient ~ " + " ~ t ~ " * " ~ fit.sum ~ ")" -%}
    {%- endfor -%}
    ({{ t }} * exp(-{{ x }} * {{ x }} + {{ fit.sum }}))
{%- endmacro %}
