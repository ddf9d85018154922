-- The store's tables besides one per document type (those are made from store.TABLES).
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counters (kind TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS others (kind TEXT NOT NULL, id INTEGER NOT NULL, doc TEXT NOT NULL, PRIMARY KEY (kind, id));
CREATE TABLE IF NOT EXISTS tags (kind TEXT, id INTEGER, folded TEXT, tag TEXT, PRIMARY KEY (kind, id, folded)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tags_folded ON tags (kind, folded);
CREATE TABLE IF NOT EXISTS metafields (
  id INTEGER PRIMARY KEY, owner_kind TEXT, owner_id INTEGER, namespace TEXT, key TEXT, type TEXT, value TEXT,
  compare_digest TEXT, created_at TEXT, updated_at TEXT, UNIQUE (owner_kind, owner_id, namespace, key));
CREATE TABLE IF NOT EXISTS inventory (
  item_id INTEGER, location_id INTEGER, is_active INTEGER, created_at TEXT, updated_at TEXT, quantities TEXT,
  quantity_updated_at TEXT, PRIMARY KEY (item_id, location_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS inventory_location ON inventory (location_id, item_id);
CREATE TABLE IF NOT EXISTS deletions (kind TEXT, id INTEGER, deleted_at TEXT, PRIMARY KEY (kind, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS idempotency (
  key TEXT PRIMARY KEY, mutation TEXT, fingerprint TEXT, state TEXT, payload TEXT, created_at TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS truth (kind TEXT, id TEXT, doc TEXT, PRIMARY KEY (kind, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tokens (
  token TEXT PRIMARY KEY, kind TEXT, scopes TEXT, expires_at REAL, client_id TEXT, used INTEGER DEFAULT 0) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS webhook_events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, webhook_id TEXT NOT NULL, event_id TEXT NOT NULL, subscription_id INTEGER, uri TEXT,
  topic TEXT NOT NULL, object TEXT, order_id INTEGER, triggered_at TEXT NOT NULL, api_version TEXT NOT NULL, name TEXT,
  state TEXT NOT NULL DEFAULT 'pending', attempts INTEGER NOT NULL DEFAULT 0, duplicates INTEGER NOT NULL DEFAULT 0,
  fault TEXT, next_at REAL, ended_at TEXT);
CREATE INDEX IF NOT EXISTS webhook_events_pending ON webhook_events (seq) WHERE state = 'pending';
CREATE TABLE IF NOT EXISTS webhook_bodies (seq INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS webhook_attempts (
  seq INTEGER NOT NULL, attempt INTEGER NOT NULL, at TEXT NOT NULL, status INTEGER, problem TEXT, milliseconds REAL NOT NULL,
  PRIMARY KEY (seq, attempt)) WITHOUT ROWID;
