-- Keys that came with launches, so that the same request twice gives one run. Kept for a day; `request` is the sha256 of what was
-- asked for, in hex: the same key with another request is refused.
create table launch_key (
    key text primary key,
    request text not null,
    run integer not null references run (id) on delete cascade,
    at_ms integer not null
) strict, without rowid;
