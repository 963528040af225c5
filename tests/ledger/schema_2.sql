-- A ledger of schema 2 as gpuwatch made it; that of schema 1 is the same without records, grants and polls.
CREATE TABLE alert_changes (
    id INTEGER NOT NULL,
    time FLOAT NOT NULL,
    what VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    scope_kind VARCHAR NOT NULL,
    scope VARCHAR NOT NULL,
    quantity VARCHAR NOT NULL,
    severity VARCHAR NOT NULL,
    since FLOAT NOT NULL,
    value FLOAT NOT NULL,
    declared FLOAT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX alert_changes_scope ON alert_changes (scope_kind, scope);
CREATE TABLE alerts (
    kind VARCHAR NOT NULL,
    scope_kind VARCHAR NOT NULL,
    scope VARCHAR NOT NULL,
    quantity VARCHAR NOT NULL,
    severity VARCHAR NOT NULL,
    since FLOAT NOT NULL,
    value FLOAT NOT NULL,
    declared FLOAT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (kind, scope_kind, scope, quantity)
)
 WITHOUT ROWID;
CREATE TABLE counters (
    job_id VARCHAR NOT NULL,
    started INTEGER NOT NULL,
    cluster VARCHAR NOT NULL,
    node VARCHAR NOT NULL,
    epoch VARCHAR NOT NULL,
    uuid VARCHAR NOT NULL,
    counter VARCHAR NOT NULL,
    value FLOAT NOT NULL,
    PRIMARY KEY (job_id, started, cluster, node, epoch, uuid, counter)
)
 WITHOUT ROWID;
CREATE TABLE grants (
    cluster VARCHAR NOT NULL,
    account VARCHAR NOT NULL,
    user VARCHAR NOT NULL,
    resource VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    starts FLOAT NOT NULL,
    seen FLOAT NOT NULL,
    limit_seconds FLOAT,
    used_seconds FLOAT,
    parent VARCHAR NOT NULL,
    coordinators TEXT NOT NULL,
    ends FLOAT,
    PRIMARY KEY (cluster, account, user, resource, source, starts)
)
 WITHOUT ROWID;
CREATE TABLE held (
    job_id VARCHAR NOT NULL,
    started INTEGER NOT NULL,
    cluster VARCHAR NOT NULL,
    node VARCHAR NOT NULL,
    epoch VARCHAR NOT NULL,
    uuid VARCHAR NOT NULL,
    last_seen FLOAT NOT NULL,
    share FLOAT NOT NULL,
    basis VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    open BOOLEAN NOT NULL,
    PRIMARY KEY (job_id, started, cluster, node, epoch, uuid)
)
 WITHOUT ROWID;
CREATE INDEX held_last_seen ON held (last_seen);
CREATE TABLE journal (
    cluster VARCHAR NOT NULL,
    node VARCHAR NOT NULL,
    epoch VARCHAR NOT NULL,
    seq INTEGER NOT NULL,
    time FLOAT NOT NULL,
    job_id VARCHAR,
    started INTEGER NOT NULL,
    channel VARCHAR NOT NULL,
    uid INTEGER,
    pid INTEGER,
    text TEXT NOT NULL,
    campaign VARCHAR,
    scope_kind VARCHAR,
    scope VARCHAR,
    PRIMARY KEY (cluster, node, epoch, seq)
)
 WITHOUT ROWID;
CREATE INDEX journal_campaign ON journal (campaign);
CREATE INDEX journal_job ON journal (job_id);
CREATE INDEX journal_scope ON journal (scope_kind, scope);
CREATE TABLE nodes (
    cluster VARCHAR NOT NULL,
    node VARCHAR NOT NULL,
    epoch VARCHAR NOT NULL,
    seen FLOAT NOT NULL,
    PRIMARY KEY (cluster, node)
)
 WITHOUT ROWID;
CREATE TABLE polls (
    scheduler VARCHAR NOT NULL,
    cluster VARCHAR NOT NULL,
    until FLOAT NOT NULL,
    PRIMARY KEY (scheduler, cluster)
)
 WITHOUT ROWID;
CREATE TABLE progress (
    job_id VARCHAR NOT NULL,
    started INTEGER NOT NULL,
    cluster VARCHAR NOT NULL,
    node VARCHAR NOT NULL,
    time FLOAT NOT NULL,
    step FLOAT NOT NULL,
    total FLOAT NOT NULL,
    start_step FLOAT NOT NULL,
    PRIMARY KEY (job_id, started, cluster, node)
)
 WITHOUT ROWID;
CREATE TABLE records (
    job_id VARCHAR NOT NULL,
    submitted INTEGER NOT NULL,
    cluster VARCHAR NOT NULL,
    seen FLOAT NOT NULL,
    state VARCHAR NOT NULL,
    started FLOAT,
    ended FLOAT,
    devices FLOAT,
    rule VARCHAR NOT NULL,
    doubt VARCHAR NOT NULL,
    cpus FLOAT,
    nodes TEXT NOT NULL,
    whole VARCHAR NOT NULL,
    display VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    user VARCHAR NOT NULL,
    account VARCHAR NOT NULL,
    partition VARCHAR NOT NULL,
    qos VARCHAR NOT NULL,
    limit_seconds FLOAT,
    billing FLOAT,
    restarts INTEGER,
    exit_code INTEGER,
    tasks INTEGER NOT NULL,
    live_seen FLOAT,
    comment TEXT,
    admin_comment TEXT,
    campaign VARCHAR,
    live_devices FLOAT,
    indices TEXT,
    PRIMARY KEY (job_id, submitted, cluster)
)
 WITHOUT ROWID;
CREATE INDEX records_account ON records (account);
CREATE INDEX records_campaign ON records (campaign);
CREATE INDEX records_display ON records (display);
CREATE INDEX records_ended ON records (ended);
CREATE INDEX records_started ON records (started);
CREATE INDEX records_whole ON records (whole);
CREATE TABLE runs (
    job_id VARCHAR NOT NULL,
    cluster VARCHAR NOT NULL,
    node VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    time FLOAT NOT NULL,
    name VARCHAR,
    uid INTEGER,
    exit_code INTEGER,
    PRIMARY KEY (job_id, cluster, node, kind)
)
 WITHOUT ROWID;
CREATE TABLE schema_version (
    version INTEGER NOT NULL,
    PRIMARY KEY (version)
);
CREATE TABLE watermarks (
    origin VARCHAR NOT NULL,
    epoch VARCHAR NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (origin)
)
 WITHOUT ROWID;
CREATE TABLE outbox (
    change_id INTEGER NOT NULL,
    notifier VARCHAR NOT NULL,
    time FLOAT NOT NULL,
    PRIMARY KEY (change_id, notifier),
    FOREIGN KEY(change_id) REFERENCES alert_changes (id)
)
 WITHOUT ROWID;
