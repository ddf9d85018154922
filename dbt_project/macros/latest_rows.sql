{#-
    Staging reads the whole lake on a full build, and only what changed on an incremental run. Both must give the same
    table, whatever happened to the lake in between: a newer version, a day loaded again without an order (which then falls
    back to an older version, or is gone), a load that committed late, rows replayed from quarantine, a sweep.

    So nothing is remembered but states, and states are compared: the files a model has read (`bookkeeping.<model>__files`)
    with those that lie in the lake now; the keys and versions of orders with the lake's; the document versions that a child
    of orders holds (`bookkeeping.<model>`) with its root's. The small families are read again whole when a file changed.
-#}
{#-
    The rows of a lake table that hold now: of a root document the version with the latest `updated_at`, then `_loaded_at`;
    of its children only those of that version (docs/decisions/001-document-versions.md); of snapshots the last of a day.
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
{% macro latest_keys(name, changed_roots=none) -%}
    {%- set table = lake_table(name) -%}
    {%- set rows = source("storefront", name) -%}
    {%- if name == "swept_ids" -%}
        {#- The last sweep that found an id. #}
        select
            {{ table.key | join(", ") }},
            arg_max(_version_at, (swept_at, _loaded_at)) as _version_at,
            arg_max(_loaded_at, (swept_at, _loaded_at)) as _loaded_at
        from {{ rows }}
        group by {{ table.key | join(", ") }}
    {%- elif table.is_snapshot -%}
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
        {%- if changed_roots %} where child.{{ table.root_id }} in (select {{ table.root_id }} from {{ changed_roots }})
        {%- endif %}
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
        from ({{ latest_versions(rows, table.root_id, changed_roots) }}) as versions
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

{% macro latest_versions(rows, root_id, changed_roots=none) -%}
    select {{ root_id }}, max(_version_at) as _version_at, arg_max(_loaded_at, (_version_at, _loaded_at)) as _loaded_at
    from {{ rows }}
    {%- if changed_roots %} where {{ root_id }} in (select {{ root_id }} from {{ changed_roots }}) {%- endif %}
    group by {{ root_id }}
{%- endmacro %}

{#-
    Pre-hook of an incremental staging model, in the transaction of its insert: delete what no longer holds, and list what
    is missing for `latest_rows`. Nothing is read when no file changed that the model depends on.
-#}
{% macro forget_outdated_rows(name) -%}
    {%- set table = lake_table(name) -%}
    {%- set root = ref("stg_storefront__" ~ table.root) if name != table.root -%}
    {%- set missing, files = this.identifier ~ "__missing", this.identifier ~ "__files" -%}
    create or replace temporary table {{ files }} as {{ lake_files(watched(name, table)) }};
    {%- if is_incremental() %}
        {%- set changed = changed_files(watched(name, table)) %}
        {%- if table.root == "orders" %}
            {%- if name != "orders" %} {{ forget_outdated_children(name, table, changed) }}
            {%- else %} {{ forget_outdated_orders(changed) }}
            {%- endif %}
        {%- elif changed == [] %}
            create or replace temporary table {{ missing }} as
            select *
            from ({{ latest_keys(name) }})
            limit 0
            ;
        {%- elif table.is_snapshot %}
            {%- set same = same_state("missing", "held", table) %}
            create or replace temporary table {{ missing }} as {{ latest_keys(name) }};
            delete from {{ this }} as held
            where not exists (select 1 from {{ missing }} as missing where {{ same }})
            ;
            delete from {{ missing }} as missing
            where exists (select 1 from {{ this }} as held where {{ same }})
            ;
        {%- else %}
            {#- A small family that lies in one file: read it again whole. #}
            create or replace temporary table {{ missing }} as {{ latest_keys(name) }};
            delete from {{ this }}
            ;
        {%- endif %}
    {%- endif -%}
{%- endmacro %}

{#- Tables of the lake whose files a staging model depends on. -#}
{% macro watched(name, table) -%}
    {%- if table.root == "orders" and name != "orders" -%} {{ return([name]) }}
    {%- elif table.swept_as -%} {{ return([name, "swept_ids"]) }}
    {%- else -%} {{ return([name, table.root] | unique | list) }}
    {%- endif -%}
{%- endmacro %}

{#-
    Orders: of those that lie in a changed file now, or were last seen in the days of one, the latest version is looked up
    again. A sweep, which may concern any order, looks them all up.
-#}
{% macro forget_outdated_orders(changed_files) -%}
    {%- set candidates, missing = this.identifier ~ "__candidates", this.identifier ~ "__missing" -%}
    {%- set periods, names = [], [] -%}
    {%- for file in changed_files or [] -%}
        {#- A sweep lies in the partition `all`, or has a day that no order's version need have. -#}
        {%- do periods.append("all") if "/swept_ids/" in file.name -%}
        {%- do periods.append(file.name.split("partition=")[1].split("/")[0]) -%}
        {%- do names.append(file.name) if file.is_there -%}
    {%- endfor -%}
    {%- set is_everything = changed_files is none or "all" in periods -%}
    create or replace temporary table {{ candidates }} as
    select order_id
    from {{ this }}
    {%- if not is_everything %}
        where
            strftime(_version_at, '%Y-%m-%d') in ('{{ periods | join("', '") }}')
            or strftime(_version_at, '%Y-%m') in ('{{ periods | join("', '") }}')
    {%- endif %}
    {%- if names and not is_everything %}
        union
        select order_id
        from read_parquet(['{{ names | join("', '") }}'])
    {%- elif is_everything %}
        union
        select order_id
        from {{ source("storefront", "orders") }}
    {%- endif %}
    ;
    create or replace temporary table {{ missing }} as {{ latest_keys("orders", candidates) }};
    delete from {{ this }}
    where order_id in (select order_id from {{ candidates }})
    ;
{%- endmacro %}

{#- Children of orders: the documents that changed since the model was last built, and only they, are read again. -#}
{% macro forget_outdated_children(name, table, changed_files) -%}
    {%- set root = ref("stg_storefront__" ~ table.root) -%}
    {%- set root_id = table.root_id -%}
    {%- set changed, missing, book = this.identifier ~ "__changed", this.identifier ~ "__missing", bookkeeping() -%}
    create or replace temporary table {{ changed }} as
    {%- if changed_files is not none %}
        {%- set state = [root_id, "_version_at", "_loaded_at"] | join(", ") %}
        (select {{ state }} from {{ root }} except select {{ state }} from {{ book }})
        union all
        (select {{ state }} from {{ book }} except select {{ state }} from {{ root }})
        {%- set names = changed_files | selectattr("is_there") | map(attribute="name") | list %}
        {%- if names %}
            union all
            select {{ root_id }}, null, null
            from read_parquet(['{{ names | join("', '") }}'])
        {%- endif %}
    {%- else %}
        select {{ root_id }}
        from {{ root }}
        union all
        select {{ root_id }}
        from {{ this }}
    {%- endif %}
    ;
    create or replace temporary table {{ missing }} as {{ latest_keys(name, changed) }};
    delete from {{ this }}
    where {{ root_id }} in (select {{ root_id }} from {{ changed }})
    ;
{%- endmacro %}

{#- Post-hook of an incremental staging model, in the same transaction: note which files, and which orders, it now holds. -#}
{% macro note_incorporated(name) -%}
    {%- set table = lake_table(name) -%}
    {%- if table.root == "orders" and name != "orders" -%}
        {%- set root, root_id, book = ref("stg_storefront__orders"), table.root_id, bookkeeping() -%}
        {%- if is_incremental() and is_booked() %}
            {%- set changed = "(select " ~ root_id ~ " from " ~ this.identifier ~ "__changed)" -%}
            delete from {{ book }}
            where {{ root_id }} in {{ changed }}
            ;
            insert into {{ book }}
            select {{ root_id }}, _version_at, _loaded_at
            from {{ root }}
            where {{ root_id }} in {{ changed }}
            ;
        {%- else %}
            create or replace table {{ book }} as
            select {{ root_id }}, _version_at, _loaded_at
            from {{ root }}
            ;
        {%- endif %}
    {%- endif %}
    create or replace table {{ bookkeeping("__files") }} as
    select *
    from {{ this.identifier }}__files
    ;
{%- endmacro %}

{% macro bookkeeping(suffix="") -%} bookkeeping.{{ this.identifier }}{{ suffix }} {%- endmacro %}

{#- Whether the model left notes when it was last built; without them everything counts as changed. -#}
{% macro is_booked() -%}
    {{ return(adapter.get_relation(this.database, "bookkeeping", this.identifier ~ "__files") is not none) }}
{%- endmacro %}

{#- The files of some of the lake's tables. No content is read for this: landing replaces files whole, never in place. -#}
{% macro lake_files(names) -%}
    select filename, size, last_modified
    from
        read_blob(
            [
                {%- for name in names %}
                    '{{ env_var("COMMERCE_LAKE_ROOT") }}/raw/storefront/{{ name }}/**/*.parquet'{{ ", " if not loop.last }}
                {%- endfor %}
            ]
        )
{%- endmacro %}

{#- Files that are not as they were when the model was last built, as (name, is_there); none where that is not known. -#}
{% macro changed_files(names) -%}
    {%- if not execute or not is_booked() -%} {{ return(none) }} {%- endif -%}
    {%- set now, known = lake_files(names), "select * from " ~ bookkeeping("__files") -%}
    {%- set changed = [] -%}
    {%- for is_there, files in [(true, now ~ " except " ~ known), (false, known ~ " except " ~ now)] -%}
        {%- for row in run_query(files).rows -%}
            {%- do changed.append({"name": row[0], "is_there": is_there}) -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ return(changed) }}
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
