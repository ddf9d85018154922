{#-
    The rows of a lake table that hold now: of a root document the version with the latest `updated_at`, then `_loaded_at`;
    of its children only those of that version (docs/decisions/001-document-versions.md); of snapshots the last of a day.
    Pulls and events are merged by that: where both brought one version, the later load has the word.
    On an incremental run only the missing ones, which `forget_outdated_rows` has listed before.
-#}
{% macro latest_rows(name) -%}
    {%- set table = lake_table(name) -%}
    {%- set keys -%}
        {%- if is_incremental() -%} {{ this.identifier }}__missing {%- else -%} ({{ latest_keys(name) }}) {%- endif -%}
    {%- endset -%}
    {%- set joined = table.key | reject("equalto", "snapshot_on") | list + ["_version_at", "_loaded_at"] -%}
    select
        lake.*
        {%- if table.swept_as %}, newest.deletion_seen_at is not null as is_deleted, newest.deletion_seen_at {% endif %}
        {%- if table.is_snapshot %}, newest.snapshot_on {% endif %}
    from {{ source("storefront", name) }} as lake
    inner join {{ keys }} as newest on {{ same_values("lake", "newest", joined) }}
{%- endmacro %}

{#- Which rows of a lake table hold now: key, version and load. Narrow, so that asking the whole lake is cheap. -#}
{% macro latest_keys(name, changed_roots=none, files=none) -%}
    {%- set table = lake_table(name) -%}
    {%- set rows = source("storefront", name) -%}
    {%- if files -%} {%- set rows = "read_parquet(['" ~ files | join("', '") ~ "'], union_by_name = true)" -%}
    {%- elif files is not none -%} {%- set rows = "(select * from " ~ rows ~ " limit 0)" -%}
    {%- endif -%}
    {%- if name == "swept_ids" -%}
        {#- The last sweep that found an id. #}
        select
            {{ table.key | join(", ") }},
            arg_max(_version_at, (swept_at, _loaded_at)) as _version_at,
            arg_max(_loaded_at, (swept_at, _loaded_at)) as _loaded_at
        from {{ rows }}
        group by {{ table.key | join(", ") }}
    {%- elif name == "deleted_ids" -%}
        {#- The last time that an event told of it. #}
        select
            {{ table.key | join(", ") }},
            arg_max(_version_at, (deleted_at, _loaded_at)) as _version_at,
            arg_max(_loaded_at, (deleted_at, _loaded_at)) as _loaded_at
        from {{ rows }}
        group by {{ table.key | join(", ") }}
    {%- elif table.is_snapshot -%}
        {#-
            A day is counted whole by a pull. Events count anew what they name: what came after the pull stands in place of all
            that was known of the same item. Before the day's first pull they say nothing, lest a day begin with a few items
            only; where nothing was ever pulled they are all there is.
        #}
        {%- set of_day = [
            "told." ~ table.root_id ~ " = counted." ~ table.root_id,
            "told.snapshot_on = counted.snapshot_on",
        ] %}
        with
            counted as (
                select
                    {{ table.key | reject("equalto", "snapshot_on") | join(", ") }},
                    _version_at,
                    _loaded_at,
                    starts_with(partition, 'events-') as is_event,
                    coalesce(try_cast(partition as date), cast(_loaded_at at time zone 'UTC' as date)) as snapshot_on
                from {{ rows }}
            ),

            pulls as (
                select snapshot_on, min(_loaded_at) as pulled_at from counted where not is_event group by snapshot_on
            ),

            told as (
                select counted.{{ table.root_id }}, counted.snapshot_on, max(counted._loaded_at) as told_at
                from counted
                left join pulls on pulls.snapshot_on = counted.snapshot_on
                where counted.is_event and (counted._loaded_at > pulls.pulled_at or not exists (select 1 from pulls))
                group by counted.{{ table.root_id }}, counted.snapshot_on
            )

        select
            {{ qualified("counted", table.key) }},
            arg_max(counted._version_at, counted._loaded_at) as _version_at,
            max(counted._loaded_at) as _loaded_at
        from counted
        left join told on {{ of_day | join(" and ") }}
        where
            case
                when counted.is_event
                then counted._loaded_at = told.told_at
                else counted._loaded_at >= coalesce(told.told_at, '-infinity')
            end
        group by {{ qualified("counted", table.key) }}
    {%- elif name != table.root -%}
        {#-
            A child replayed from quarantine may be younger than its document; never older: then it came with another load of
            the same version, a pull's beside an event's.
        -#}
        select
            {{ qualified("child", table.key) }},
            max(child._version_at) as _version_at,
            max(child._loaded_at) as _loaded_at
        from {{ rows }} as child
        inner join
            {{ ref("stg_storefront__" ~ table.root) }} as root
            on root.{{ table.root_id }} = child.{{ table.root_id }}
            and root._version_at at time zone 'UTC' = child._version_at
            and root._loaded_at at time zone 'UTC' <= child._loaded_at
        {%- if changed_roots %} where child.{{ table.root_id }} in (select {{ table.root_id }} from {{ changed_roots }})
        {%- endif %}
        group by {{ qualified("child", table.key) }}
    {%- elif table.swept_as -%}
        {#-
            Deleted: a sweep later than the load did not find it, and no sweep since did; or an event told of it, and neither
            has a newer version come nor a later sweep found it (docs/decisions/003).
        -#}
        {%- set swept, deleted = ref("stg_storefront__swept_ids"), ref("stg_storefront__deleted_ids") -%}
        select
            versions.*,
            least(
                list_min(
                    list_filter(
                        sweeps.swept_ats,
                        swept_at -> swept_at > versions._loaded_at
                        and swept_at > coalesce(found.swept_at at time zone 'UTC', '-infinity')
                    )
                ),
                case
                    when
                        deleted.deleted_at at time zone 'UTC' >= versions._version_at
                        and deleted.deleted_at > coalesce(found.swept_at, '-infinity')
                    then deleted.deleted_at at time zone 'UTC'
                end
            ) as deletion_seen_at
        from ({{ latest_versions(rows, table.root_id, changed_roots) }}) as versions
        left join
            {{ swept }} as found
            on found.object_type = '{{ table.swept_as }}'
            and found.object_id = versions.{{ table.root_id }}
        left join
            {{ deleted }} as deleted
            on deleted.object_type = '{{ table.swept_as }}'
            and deleted.object_id = versions.{{ table.root_id }}
        cross join
            (
                select list(distinct swept_at at time zone 'UTC') as swept_ats
                from {{ swept }}
                where object_type = '{{ table.swept_as }}'
            ) as sweeps
    {%- else -%} {{ latest_versions(rows, table.root_id) }}
    {%- endif -%}
{%- endmacro %}

{% macro latest_versions(rows, root_id, changed_roots=none) -%}
    select {{ root_id }}, max(_version_at) as _version_at, arg_max(_loaded_at, (_version_at, _loaded_at)) as _loaded_at
    from {{ rows }}
    {%- if changed_roots %} where {{ root_id }} in (select {{ root_id }} from {{ changed_roots }}) {%- endif %}
    group by {{ root_id }}
{%- endmacro %}

{% macro qualified(relation, columns) -%}
    {%- for column in columns %} {{ relation }}.{{ column }}{{ ", " if not loop.last }}{% endfor -%}
{%- endmacro %}

{% macro same_values(left, right, columns) -%}
    {%- for column in columns %}
        {{ left }}.{{ column }} = {{ right }}.{{ column }}{{ " and " if not loop.last }}
    {% endfor -%}
{%- endmacro %}
