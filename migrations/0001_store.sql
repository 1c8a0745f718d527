-- Everything that Whetstone remembers. Times are integer milliseconds since 1970 (utc).
-- A nullable real column documented as "null = NaN" is never missing: sqlite has no NaN; infinities are kept as they are.
-- `rev` is the number of the transaction that wrote a row, counted per run: what a resume undoes is `rev > the checkpoint's`.

-- One training job. The worker keeps heartbeat_ms fresh; others write wishes (stop_wish), labels and states.
create table run (
    id integer primary key autoincrement,
    public_id text not null unique,               -- short and stable, in urls: r-7k2m
    name text not null,
    state text not null,                          -- queued, starting, running, stopping, stopped, finished, failed, interrupted
    state_message text not null default '',       -- why; the error's text when failed
    config text not null,                         -- effective config, json
    model text not null,
    base_sha256 text not null,                    -- of the base weights: an adapter fits these only
    code_version text not null,
    pid integer,                                  -- the worker's process; null when none should live
    heartbeat_ms integer,
    stop_wish integer not null default 0,
    created_ms integer not null,
    started_ms integer,                           -- first claim by a worker
    ended_ms integer,
    phase text,                                   -- of the last step: warm_start, grpo
    step integer not null default 0,              -- last step made in that phase
    steps_planned integer not null,               -- of all phases together
    progress text not null default '',            -- what is being done within the step
    archived integer not null default 0,
    tags text not null default '[]',              -- json list of strings
    note text not null default '',
    rev integer not null default 0,               -- transactions so far; never falls
    baseline integer references evaluation (id) on delete set null,
    best integer references evaluation (id) on delete set null,  -- highest accuracy with a checkpoint; ties: the later
    last integer references evaluation (id) on delete set null
) strict;
create index run_state on run (state);

-- One optimiser update. Each phase has its own step counter, from 1.
create table step (
    run integer not null references run (id) on delete cascade,
    phase text not null,
    step integer not null,
    at_ms integer not null,
    rev integer not null,
    primary key (run, phase, step)
) strict, without rowid;

-- Names of metrics, written once.
create table metric_key (
    id integer primary key,
    name text not null unique
) strict;

-- One number of one step, in the order charts read it.
create table metric (
    run integer not null references run (id) on delete cascade,
    phase text not null,
    key integer not null references metric_key (id),
    step integer not null,
    value real,                                   -- null = NaN
    primary key (run, phase, key, step)
) strict, without rowid;

-- Problems by content: the same problem drawn by many groups and runs is stored once. The hash (FNV-1a 64 of body)
-- only finds candidates, the body decides.
create table problem (
    id integer primary key,
    hash integer not null,
    key text not null,                            -- its id in its task set
    domain text not null,
    difficulty integer not null,
    body text not null                            -- json
) strict;
create index problem_hash on problem (hash);

-- One problem with its G rollouts in one step.
create table grp (
    id integer primary key,
    run integer not null,
    phase text not null,
    step integer not null,
    idx integer not null,                         -- in the step, from 0
    problem integer not null references problem (id),
    mean real,                                    -- of the rewards; null = NaN
    std real,                                     -- null = NaN
    class text not null,                          -- mixed, all_correct, all_wrong, tied
    unique (run, phase, step, idx),
    foreign key (run, phase, step) references step (run, phase, step) on delete cascade
) strict;
create index grp_problem on grp (problem, run, step);

-- What only the group page needs: prompt, tokens, logprobs, entropies, masks, turns, texts, parses and reward parts
-- of all rollouts of a group, packed together because they resemble each other (format: server/store/src/codec.rs).
create table grp_detail (
    grp integer primary key references grp (id) on delete cascade,
    packed blob not null
) strict;

-- One scored rollout, narrow, for lists and filters.
create table rollout (
    id integer primary key,
    grp integer not null references grp (id) on delete cascade,
    idx integer not null,                         -- in the group, as the worker counted
    run integer not null,
    phase text not null,
    step integer not null,
    outcome integer not null,                     -- rung of the ladder, 0 to 13
    total real,                                   -- reward; null = NaN
    advantage real,                               -- null = NaN
    tokens integer not null,
    stop text not null,                           -- eos, length
    effective integer not null,                   -- took part in the update
    unique (grp, idx)
) strict;
create index rollout_step on rollout (run, phase, step);
create index rollout_outcome on rollout (run, outcome, step);

-- One measurement on held-out problems, no learning. Several kinds may be made at one step.
create table evaluation (
    id integer primary key,
    run integer not null references run (id) on delete cascade,
    phase text not null,
    step integer not null,                        -- made in that phase before it
    kind text not null,                           -- baseline, after_warm_start, periodic, final
    tasks text not null,
    at_ms integer not null,
    rev integer not null,
    correct integer not null,
    n integer not null,
    accuracy real,                                -- this and the reals below: null = NaN
    ci_low real,
    ci_high real,
    json_valid real,
    name_accuracy real,
    argument_accuracy real,
    no_call_accuracy real,
    false_call_rate real,
    mean_tokens real,
    seconds real,
    tokens_per_second real,
    gained integer,                               -- against the baseline; null = no comparison
    lost integer,
    p real,
    kl_measured integer not null,
    kl real,                                      -- null = NaN where measured
    unique (run, phase, step, kind)
) strict;

-- One greedy answer of an evaluation.
create table prediction (
    evaluation integer not null references evaluation (id) on delete cascade,
    idx integer not null,
    problem_key text not null,                    -- the problem's id in its task set
    outcome integer not null,
    correct integer not null,
    expects_no_call integer not null,
    name_correct integer not null,
    argument_score real,                          -- null = no call was made
    tokens integer not null,
    text text not null,
    calls text,                                   -- json [[name, arguments as json text]]; null = unparsable
    primary key (evaluation, idx)
) strict, without rowid;

-- A checkpoint whose files were on disk and synced before this row was written.
create table checkpoint (
    run integer not null references run (id) on delete cascade,
    phase text not null,
    step integer not null,
    folder text not null,                         -- below the run's folder
    bytes integer not null,
    adapter_sha256 text not null,
    state text not null,                          -- counters of the worker, json
    at_ms integer not null,
    rev integer not null,
    primary key (run, phase, step)
) strict, without rowid;

-- What happened, in order, for live pages; written in the transaction that made it true. Ids never come back.
create table event (
    id integer primary key autoincrement,
    run integer references run (id) on delete cascade,  -- null = about no run that still exists
    at_ms integer not null,
    kind text not null,                           -- created, step, evaluation, checkpoint, status, progress, log, rewind, edited, deleted
    body text not null                            -- json; a number that is no number is null
) strict;
create index event_run on event (run, id);
