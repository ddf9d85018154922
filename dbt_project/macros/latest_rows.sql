{#-
    The rows of a lake table that hold now: of a root document the version with the latest `updated_at`, then `_loaded_at`;
    of its children only those of that version (docs/decisions/001-document-versions.md). Of snapshots, the last one taken
    on a day.

    A full build reads them all. An incremental run reads only those that the model does not hold yet, which
    `forget_outdated_rows`, its pre-hook, has put into a temporary table.
-#}
{% macro latest_rows(name) -%}
    {%- set table = lake_table(name) -%}
    {%- set rows = source("storefront", name) -%}
    {%- set keys -%}
        {%- if is_incremental() -%} {{ this.identifier }}__missing {%- else -%} ({{ latest_keys(name) }}) {%- endif -%}
    {%- endset -%}
    {%- set joined = table.key | reject("equalto", "snapshot_on") | list + ["_version_at", "_loaded_at"] -%}
    select
        lake.*
        {%- if table.swept_as %}, newest.deletion_seen_at is not null as is_deleted, newest.deletion_seen_at {% endif %}
        {%- if table.is_snapshot %}, newest.snapshot_on {% endif %}
    from {{ rows }} as lake
    inner join {{ keys }} as newest on {{ same_values("lake", "newest", joined) }}
{%- endmacro %}

{#- Which rows of a lake table hold now: key, version and load. Narrow, so that asking the whole lake is cheap. -#}
{% macro latest_keys(name) -%}
    {%- set table = lake_table(name) -%}
    {%- set rows = source("storefront", name) -%}
    {%- if table.is_snapshot -%}
        select
            {{ table.key | join(", ") }}, arg_max(_version_at, _loaded_at) as _version_at, max(_loaded_at) as _loaded_at
        from
            (
                select
                    *, coalesce(try_cast(partition as date), cast(_loaded_at at time zone 'UTC' as date)) as snapshot_on
                from {{ rows }}
            )
        group by {{ table.key | join(", ") }}
    {%- elif name != table.root -%}
        {#- A child replayed from quarantine may be younger than its document; never older. -#}
        select
            {{ qualified("child", table.key) }},
            max(child._version_at) as _version_at,
            max(child._loaded_at) as _loaded_at
        from {{ rows }} as child
        inner join
            {{ ref("stg_storefront__" ~ table.root) }} as root
            on root.{{ table.root_id }} = child.{{ table.root_id }}
            and root._version_at at time zone 'UTC' = child._version_at
        group by {{ qualified("child", table.key) }}
    {%- elif table.swept_as -%}
        {#- Deleted: a sweep later than the load did not find it, and no sweep since did (docs/decisions/003). -#}
        {%- set swept = ref("stg_storefront__swept_ids") -%}
        select
            versions.*,
            list_min(
                list_filter(
                    sweeps.swept_ats,
                    swept_at -> swept_at > versions._loaded_at
                    and swept_at > coalesce(found.swept_at at time zone 'UTC', '-infinity')
                )
            ) as deletion_seen_at
        from ({{ latest_versions(rows, table.root_id) }}) as versions
        left join
            {{ swept }} as found
            on found.object_type = '{{ table.swept_as }}'
            and found.object_id = versions.{{ table.root_id }}
        cross join
            (
                select list(distinct swept_at at time zone 'UTC') as swept_ats
                from {{ swept }}
                where object_type = '{{ table.swept_as }}'
            ) as sweeps
    {%- else -%} {{ latest_versions(rows, table.root_id) }}
    {%- endif -%}
{%- endmacro %}

{% macro latest_versions(rows, root_id) -%}
    select {{ root_id }}, max(_version_at) as _version_at, arg_max(_loaded_at, (_version_at, _loaded_at)) as _loaded_at
    from {{ rows }}
    group by {{ root_id }}
{%- endmacro %}

{#-
    Pre-hook of an incremental staging model, in the same transaction as its insert: delete what no longer holds (an older
    version, a removed line, a document gone from the lake), and note what is missing for `latest_rows`.

    It compares states instead of remembering how far it came, so nothing can be missed: not a load that committed late,
    not an order that fell back to an older version because a day was loaded again without it.
-#}
{% macro forget_outdated_rows(name) -%}
    {%- if is_incremental() -%}
        {%- set table = lake_table(name) -%}
        {%- set missing = this.identifier ~ "__missing" -%}
        {%- set same = same_state("missing", "held", table) -%}
        create or replace temporary table {{ missing }} as {{ latest_keys(name) }};
        delete from {{ this }} as held
        where not exists (select 1 from {{ missing }} as missing where {{ same }})
        ;
        delete from {{ missing }} as missing
        where exists (select 1 from {{ this }} as held where {{ same }})
        ;
    {%- endif -%}
{%- endmacro %}

{#- The lake's times carry a zone, the model's are UTC without. -#}
{% macro same_state(lake, held, table) -%}
    {{ same_values(lake, held, table.key) }}
    {%- for column in ["_version_at", "_loaded_at"] %}
        and {{ lake }}.{{ column }} = {{ held }}.{{ column }} at time zone 'UTC'
    {%- endfor %}
    {%- if table.swept_as %}
        and {{ lake }}.deletion_seen_at is not distinct from {{ held }}.deletion_seen_at at time zone 'UTC'
    {%- endif %}
{%- endmacro %}

{% macro qualified(relation, columns) -%}
    {%- for column in columns %} {{ relation }}.{{ column }}{{ ", " if not loop.last }}{% endfor -%}
{%- endmacro %}

{% macro same_values(left, right, columns) -%}
    {%- for column in columns %}
        {{ left }}.{{ column }} = {{ right }}.{{ column }}{{ " and " if not loop.last }}
    {% endfor -%}
{%- endmacro %}
