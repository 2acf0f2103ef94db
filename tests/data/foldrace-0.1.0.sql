SELECT pg_catalog.set_config('search_path', '', false);
CREATE TYPE public.studydirection AS ENUM (
    'NOT_SET',
    'MINIMIZE',
    'MAXIMIZE'
);
CREATE TYPE public.trialintermediatevaluetype AS ENUM (
    'FINITE',
    'INF_POS',
    'INF_NEG',
    'NAN'
);
CREATE TYPE public.trialstate AS ENUM (
    'RUNNING',
    'COMPLETE',
    'PRUNED',
    'FAIL',
    'WAITING'
);
CREATE TYPE public.trialvaluetype AS ENUM (
    'FINITE',
    'INF_POS',
    'INF_NEG'
);
CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.foldrace_controls (
    study_id integer NOT NULL,
    control character varying(20) NOT NULL
);
CREATE TABLE public.foldrace_leases (
    study_id integer NOT NULL,
    trial_id integer NOT NULL,
    owner character varying(200) NOT NULL,
    token character varying(32) NOT NULL,
    counter bigint NOT NULL,
    state character varying(20) NOT NULL,
    attempt integer NOT NULL,
    fruitless integer NOT NULL,
    progressed boolean NOT NULL,
    note text
);
CREATE TABLE public.foldrace_version (
    id integer NOT NULL,
    version integer NOT NULL
);
CREATE TABLE public.foldrace_workers (
    owner character varying(200) NOT NULL,
    study_id integer NOT NULL,
    host character varying(200) NOT NULL,
    pid integer NOT NULL,
    device character varying(50) NOT NULL,
    number integer,
    fold integer,
    epoch double precision,
    accuracy double precision,
    rows_per_second double precision,
    counter bigint NOT NULL,
    stopped boolean NOT NULL,
    seen_at double precision NOT NULL
);
CREATE TABLE public.studies (
    study_id integer NOT NULL,
    study_name character varying(512) NOT NULL
);
CREATE SEQUENCE public.studies_study_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.studies_study_id_seq OWNED BY public.studies.study_id;
CREATE TABLE public.study_directions (
    study_direction_id integer NOT NULL,
    direction public.studydirection NOT NULL,
    study_id integer NOT NULL,
    objective integer NOT NULL
);
CREATE SEQUENCE public.study_directions_study_direction_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.study_directions_study_direction_id_seq OWNED BY public.study_directions.study_direction_id;
CREATE TABLE public.study_system_attributes (
    study_system_attribute_id integer NOT NULL,
    study_id integer,
    key character varying(512),
    value_json text
);
CREATE SEQUENCE public.study_system_attributes_study_system_attribute_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.study_system_attributes_study_system_attribute_id_seq OWNED BY public.study_system_attributes.study_system_attribute_id;
CREATE TABLE public.study_user_attributes (
    study_user_attribute_id integer NOT NULL,
    study_id integer,
    key character varying(512),
    value_json text
);
CREATE SEQUENCE public.study_user_attributes_study_user_attribute_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.study_user_attributes_study_user_attribute_id_seq OWNED BY public.study_user_attributes.study_user_attribute_id;
CREATE TABLE public.trial_heartbeats (
    trial_heartbeat_id integer NOT NULL,
    trial_id integer NOT NULL,
    heartbeat timestamp without time zone NOT NULL
);
CREATE SEQUENCE public.trial_heartbeats_trial_heartbeat_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.trial_heartbeats_trial_heartbeat_id_seq OWNED BY public.trial_heartbeats.trial_heartbeat_id;
CREATE TABLE public.trial_intermediate_values (
    trial_intermediate_value_id integer NOT NULL,
    trial_id integer NOT NULL,
    step integer NOT NULL,
    intermediate_value double precision,
    intermediate_value_type public.trialintermediatevaluetype NOT NULL
);
CREATE SEQUENCE public.trial_intermediate_values_trial_intermediate_value_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.trial_intermediate_values_trial_intermediate_value_id_seq OWNED BY public.trial_intermediate_values.trial_intermediate_value_id;
CREATE TABLE public.trial_params (
    param_id integer NOT NULL,
    trial_id integer,
    param_name character varying(512),
    param_value double precision,
    distribution_json text
);
CREATE SEQUENCE public.trial_params_param_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.trial_params_param_id_seq OWNED BY public.trial_params.param_id;
CREATE TABLE public.trial_system_attributes (
    trial_system_attribute_id integer NOT NULL,
    trial_id integer,
    key character varying(512),
    value_json text
);
CREATE SEQUENCE public.trial_system_attributes_trial_system_attribute_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.trial_system_attributes_trial_system_attribute_id_seq OWNED BY public.trial_system_attributes.trial_system_attribute_id;
CREATE TABLE public.trial_user_attributes (
    trial_user_attribute_id integer NOT NULL,
    trial_id integer,
    key character varying(512),
    value_json text
);
CREATE SEQUENCE public.trial_user_attributes_trial_user_attribute_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.trial_user_attributes_trial_user_attribute_id_seq OWNED BY public.trial_user_attributes.trial_user_attribute_id;
CREATE TABLE public.trial_values (
    trial_value_id integer NOT NULL,
    trial_id integer NOT NULL,
    objective integer NOT NULL,
    value double precision,
    value_type public.trialvaluetype NOT NULL
);
CREATE SEQUENCE public.trial_values_trial_value_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.trial_values_trial_value_id_seq OWNED BY public.trial_values.trial_value_id;
CREATE TABLE public.trials (
    trial_id integer NOT NULL,
    number integer,
    study_id integer,
    state public.trialstate NOT NULL,
    datetime_start timestamp without time zone,
    datetime_complete timestamp without time zone
);
CREATE SEQUENCE public.trials_trial_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.trials_trial_id_seq OWNED BY public.trials.trial_id;
CREATE TABLE public.version_info (
    version_info_id integer NOT NULL,
    schema_version integer,
    library_version character varying(256),
    CONSTRAINT version_info_version_info_id_check CHECK ((version_info_id = 1))
);
ALTER TABLE ONLY public.studies ALTER COLUMN study_id SET DEFAULT nextval('public.studies_study_id_seq'::regclass);
ALTER TABLE ONLY public.study_directions ALTER COLUMN study_direction_id SET DEFAULT nextval('public.study_directions_study_direction_id_seq'::regclass);
ALTER TABLE ONLY public.study_system_attributes ALTER COLUMN study_system_attribute_id SET DEFAULT nextval('public.study_system_attributes_study_system_attribute_id_seq'::regclass);
ALTER TABLE ONLY public.study_user_attributes ALTER COLUMN study_user_attribute_id SET DEFAULT nextval('public.study_user_attributes_study_user_attribute_id_seq'::regclass);
ALTER TABLE ONLY public.trial_heartbeats ALTER COLUMN trial_heartbeat_id SET DEFAULT nextval('public.trial_heartbeats_trial_heartbeat_id_seq'::regclass);
ALTER TABLE ONLY public.trial_intermediate_values ALTER COLUMN trial_intermediate_value_id SET DEFAULT nextval('public.trial_intermediate_values_trial_intermediate_value_id_seq'::regclass);
ALTER TABLE ONLY public.trial_params ALTER COLUMN param_id SET DEFAULT nextval('public.trial_params_param_id_seq'::regclass);
ALTER TABLE ONLY public.trial_system_attributes ALTER COLUMN trial_system_attribute_id SET DEFAULT nextval('public.trial_system_attributes_trial_system_attribute_id_seq'::regclass);
ALTER TABLE ONLY public.trial_user_attributes ALTER COLUMN trial_user_attribute_id SET DEFAULT nextval('public.trial_user_attributes_trial_user_attribute_id_seq'::regclass);
ALTER TABLE ONLY public.trial_values ALTER COLUMN trial_value_id SET DEFAULT nextval('public.trial_values_trial_value_id_seq'::regclass);
ALTER TABLE ONLY public.trials ALTER COLUMN trial_id SET DEFAULT nextval('public.trials_trial_id_seq'::regclass);
INSERT INTO public.alembic_version VALUES ('v3.2.0.a');
INSERT INTO public.foldrace_leases VALUES (1, 4, 'a-host:0123456789ab', 'b3f390d320054c4aa01e2ca00ffe9e27', 0, 'released', 1, 0, true, NULL);
INSERT INTO public.foldrace_leases VALUES (1, 5, 'a-host:0123456789ab', 'c4c0f6ceb9c94696925581f19260f737', 1, 'held', 1, 0, true, NULL);
INSERT INTO public.foldrace_version VALUES (1, 1);
INSERT INTO public.foldrace_workers VALUES ('a-host:0123456789ab', 1, 'a-host', 1, 'cpu', 4, 0, NULL, 0.5, NULL, 5, false, 1795580403.361207);
INSERT INTO public.studies VALUES (1, 'old');
INSERT INTO public.studies VALUES (2, 'old/final-1');
INSERT INTO public.study_directions VALUES (1, 'MAXIMIZE', 1, 0);
INSERT INTO public.study_directions VALUES (2, 'MAXIMIZE', 2, 0);
INSERT INTO public.study_user_attributes VALUES (1, 1, 'identity', '{"data.exclude_labels": "[]", "data.train": "\"140b5b71bbaf238a9615661509906ff2245f9b843cc53ece02bd1c1d7d2b975c\"", "model.name": "\"tiny\"", "model.max_length": "128", "folds.count": "2", "folds.seed": "77", "folds.oversample_minority": "true", "folds.leaky_oversampling": "false", "training.optimizer": "\"adamw\"", "training.lr": "5e-05", "training.momentum": "0.9", "training.weight_decay": "0.01", "training.max_grad_norm": "1.0", "training.batch_size": "32", "training.epochs": "{\"low\": 5.0, \"high\": 40.0}", "training.first_cycle_ratio": "1.0", "training.cycle_mult": "2.0", "training.gamma": "{\"low\": 0.4, \"high\": 1.0}", "training.min_lr": "0.0", "training.warmup_ratio": "0.0", "training.whole_cycles": "true", "training.loss": "\"cross_entropy\"", "training.focal_gamma": "2.0", "training.label_smoothing": "0.0", "training.dropout": "0.1", "training.entity_marking": "\"concat\"", "training.evaluations": "8", "training.precision": "\"auto\"", "training.gradient_checkpointing": "false", "search.metric": "\"accuracy\"", "search.seed": "0", "search.baseline": "{\"gamma\": 1.0}"}');
INSERT INTO public.study_user_attributes VALUES (2, 1, 'toml', '"name = \"old\"\n\n[data]\ntrain = \"old.tsv\"\n\n[folds]\ncount = 2\n\n[training.gamma]\nlow = 0.4\nhigh = 1.0\n\n[training.epochs]\nlow = 5.0\nhigh = 40.0\n\n[search]\ntrials = 6\n\n[search.baseline]\ngamma = 1.0\n"');
INSERT INTO public.study_user_attributes VALUES (3, 2, 'identity', '{"data.exclude_labels": "[]", "data.train": "\"140b5b71bbaf238a9615661509906ff2245f9b843cc53ece02bd1c1d7d2b975c\"", "model.name": "\"tiny\"", "model.max_length": "128", "folds.count": "2", "folds.seed": "77", "folds.oversample_minority": "true", "folds.leaky_oversampling": "false", "training.optimizer": "\"adamw\"", "training.lr": "5e-05", "training.momentum": "0.9", "training.weight_decay": "0.01", "training.max_grad_norm": "1.0", "training.batch_size": "32", "training.epochs": "20", "training.first_cycle_ratio": "1.0", "training.cycle_mult": "2.0", "training.gamma": "0.5", "training.min_lr": "0.0", "training.warmup_ratio": "0.0", "training.whole_cycles": "true", "training.loss": "\"cross_entropy\"", "training.focal_gamma": "2.0", "training.label_smoothing": "0.0", "training.dropout": "0.1", "training.entity_marking": "\"concat\"", "training.evaluations": "8", "training.precision": "\"auto\"", "training.gradient_checkpointing": "false", "search.metric": "\"accuracy\"", "search.seed": "0", "search.baseline": "{}"}');
INSERT INTO public.study_user_attributes VALUES (4, 2, 'toml', '"name = \"old\"\n\n[data]\ntrain = \"old.tsv\"\n\n[folds]\ncount = 2\n\n[training]\ngamma = 0.5\n\n[search]\ntrials = 6\n"');
INSERT INTO public.trial_intermediate_values VALUES (1, 1, 0, 0.5, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (2, 2, 0, 0.5, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (3, 3, 0, 0.5, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (4, 4, 0, 0.5, 'FINITE');
INSERT INTO public.trial_intermediate_values VALUES (5, 5, 0, 0.5, 'FINITE');
INSERT INTO public.trial_params VALUES (1, 1, 'gamma', 1, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.4, "high": 1.0, "log": false}}');
INSERT INTO public.trial_params VALUES (2, 1, 'epochs', 36, '{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 5, "high": 40}}');
INSERT INTO public.trial_params VALUES (3, 2, 'epochs', 17, '{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 5, "high": 40}}');
INSERT INTO public.trial_params VALUES (4, 2, 'gamma', 0.8400051661105373, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.4, "high": 1.0, "log": false}}');
INSERT INTO public.trial_params VALUES (5, 3, 'epochs', 6, '{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 5, "high": 40}}');
INSERT INTO public.trial_params VALUES (6, 3, 'gamma', 0.9491825047975614, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.4, "high": 1.0, "log": false}}');
INSERT INTO public.trial_params VALUES (7, 4, 'epochs', 38, '{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 5, "high": 40}}');
INSERT INTO public.trial_params VALUES (8, 4, 'gamma', 0.4553939078496353, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.4, "high": 1.0, "log": false}}');
INSERT INTO public.trial_params VALUES (9, 5, 'epochs', 21, '{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 5, "high": 40}}');
INSERT INTO public.trial_params VALUES (10, 5, 'gamma', 0.4064463125192468, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.4, "high": 1.0, "log": false}}');
INSERT INTO public.trial_system_attributes VALUES (1, 1, 'fixed_params', '{"gamma": 1.0}');
INSERT INTO public.trial_user_attributes VALUES (1, 1, 'fold0/eval0', '{"value": 0.5, "best": 0.5}');
INSERT INTO public.trial_user_attributes VALUES (2, 2, 'fold0/eval0', '{"value": 0.5, "best": 0.5}');
INSERT INTO public.trial_user_attributes VALUES (3, 3, 'fold0/eval0', '{"value": 0.5, "best": 0.5}');
INSERT INTO public.trial_user_attributes VALUES (4, 4, 'fold0/eval0', '{"value": 0.5, "best": 0.5}');
INSERT INTO public.trial_user_attributes VALUES (5, 5, 'fold0/eval0', '{"value": 0.5, "best": 0.5}');
INSERT INTO public.trial_user_attributes VALUES (6, 1, 'attempts', '1');
INSERT INTO public.trial_user_attributes VALUES (7, 2, 'reason', '"worse than trial 0"');
INSERT INTO public.trial_user_attributes VALUES (8, 2, 'attempts', '1');
INSERT INTO public.trial_user_attributes VALUES (9, 3, 'failure', '"the loss is nan"');
INSERT INTO public.trial_user_attributes VALUES (10, 3, 'attempts', '1');
INSERT INTO public.trial_user_attributes VALUES (11, 7, 'fold', '0');
INSERT INTO public.trial_user_attributes VALUES (12, 7, 'seed', '77');
INSERT INTO public.trial_user_attributes VALUES (13, 8, 'fold', '1');
INSERT INTO public.trial_user_attributes VALUES (14, 8, 'seed', '77');
INSERT INTO public.trial_values VALUES (1, 1, 0, 0.75, 'FINITE');
INSERT INTO public.trial_values VALUES (2, 2, 0, 0.5, 'FINITE');
INSERT INTO public.trials VALUES (6, 5, 1, 'WAITING', NULL, NULL);
INSERT INTO public.trials VALUES (4, 3, 1, 'RUNNING', '2026-11-25 04:20:03.233192', NULL);
INSERT INTO public.trials VALUES (5, 4, 1, 'RUNNING', '2026-11-25 04:20:03.260843', NULL);
INSERT INTO public.trials VALUES (1, 0, 1, 'COMPLETE', '2026-11-25 04:20:03.09043', '2026-11-25 04:20:03.316396');
INSERT INTO public.trials VALUES (2, 1, 1, 'PRUNED', '2026-11-25 04:20:03.181296', '2026-11-25 04:20:03.331783');
INSERT INTO public.trials VALUES (3, 2, 1, 'FAIL', '2026-11-25 04:20:03.212623', '2026-11-25 04:20:03.344343');
INSERT INTO public.trials VALUES (7, 0, 2, 'WAITING', NULL, NULL);
INSERT INTO public.trials VALUES (8, 1, 2, 'WAITING', NULL, NULL);
INSERT INTO public.version_info VALUES (1, 12, '5.0.0');
SELECT pg_catalog.setval('public.studies_study_id_seq', 2, true);
SELECT pg_catalog.setval('public.study_directions_study_direction_id_seq', 2, true);
SELECT pg_catalog.setval('public.study_system_attributes_study_system_attribute_id_seq', 1, false);
SELECT pg_catalog.setval('public.study_user_attributes_study_user_attribute_id_seq', 4, true);
SELECT pg_catalog.setval('public.trial_heartbeats_trial_heartbeat_id_seq', 1, false);
SELECT pg_catalog.setval('public.trial_intermediate_values_trial_intermediate_value_id_seq', 5, true);
SELECT pg_catalog.setval('public.trial_params_param_id_seq', 10, true);
SELECT pg_catalog.setval('public.trial_system_attributes_trial_system_attribute_id_seq', 1, true);
SELECT pg_catalog.setval('public.trial_user_attributes_trial_user_attribute_id_seq', 14, true);
SELECT pg_catalog.setval('public.trial_values_trial_value_id_seq', 2, true);
SELECT pg_catalog.setval('public.trials_trial_id_seq', 8, true);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.foldrace_controls
    ADD CONSTRAINT foldrace_controls_pkey PRIMARY KEY (study_id);
ALTER TABLE ONLY public.foldrace_leases
    ADD CONSTRAINT foldrace_leases_pkey PRIMARY KEY (study_id, trial_id);
ALTER TABLE ONLY public.foldrace_leases
    ADD CONSTRAINT foldrace_leases_token_key UNIQUE (token);
ALTER TABLE ONLY public.foldrace_version
    ADD CONSTRAINT foldrace_version_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.foldrace_workers
    ADD CONSTRAINT foldrace_workers_pkey PRIMARY KEY (owner);
ALTER TABLE ONLY public.studies
    ADD CONSTRAINT studies_pkey PRIMARY KEY (study_id);
ALTER TABLE ONLY public.study_directions
    ADD CONSTRAINT study_directions_pkey PRIMARY KEY (study_direction_id);
ALTER TABLE ONLY public.study_directions
    ADD CONSTRAINT study_directions_study_id_objective_key UNIQUE (study_id, objective);
ALTER TABLE ONLY public.study_system_attributes
    ADD CONSTRAINT study_system_attributes_pkey PRIMARY KEY (study_system_attribute_id);
ALTER TABLE ONLY public.study_system_attributes
    ADD CONSTRAINT study_system_attributes_study_id_key_key UNIQUE (study_id, key);
ALTER TABLE ONLY public.study_user_attributes
    ADD CONSTRAINT study_user_attributes_pkey PRIMARY KEY (study_user_attribute_id);
ALTER TABLE ONLY public.study_user_attributes
    ADD CONSTRAINT study_user_attributes_study_id_key_key UNIQUE (study_id, key);
ALTER TABLE ONLY public.trial_heartbeats
    ADD CONSTRAINT trial_heartbeats_pkey PRIMARY KEY (trial_heartbeat_id);
ALTER TABLE ONLY public.trial_heartbeats
    ADD CONSTRAINT trial_heartbeats_trial_id_key UNIQUE (trial_id);
ALTER TABLE ONLY public.trial_intermediate_values
    ADD CONSTRAINT trial_intermediate_values_pkey PRIMARY KEY (trial_intermediate_value_id);
ALTER TABLE ONLY public.trial_intermediate_values
    ADD CONSTRAINT trial_intermediate_values_trial_id_step_key UNIQUE (trial_id, step);
ALTER TABLE ONLY public.trial_params
    ADD CONSTRAINT trial_params_pkey PRIMARY KEY (param_id);
ALTER TABLE ONLY public.trial_params
    ADD CONSTRAINT trial_params_trial_id_param_name_key UNIQUE (trial_id, param_name);
ALTER TABLE ONLY public.trial_system_attributes
    ADD CONSTRAINT trial_system_attributes_pkey PRIMARY KEY (trial_system_attribute_id);
ALTER TABLE ONLY public.trial_system_attributes
    ADD CONSTRAINT trial_system_attributes_trial_id_key_key UNIQUE (trial_id, key);
ALTER TABLE ONLY public.trial_user_attributes
    ADD CONSTRAINT trial_user_attributes_pkey PRIMARY KEY (trial_user_attribute_id);
ALTER TABLE ONLY public.trial_user_attributes
    ADD CONSTRAINT trial_user_attributes_trial_id_key_key UNIQUE (trial_id, key);
ALTER TABLE ONLY public.trial_values
    ADD CONSTRAINT trial_values_pkey PRIMARY KEY (trial_value_id);
ALTER TABLE ONLY public.trial_values
    ADD CONSTRAINT trial_values_trial_id_objective_key UNIQUE (trial_id, objective);
ALTER TABLE ONLY public.trials
    ADD CONSTRAINT trials_pkey PRIMARY KEY (trial_id);
ALTER TABLE ONLY public.version_info
    ADD CONSTRAINT version_info_pkey PRIMARY KEY (version_info_id);
CREATE INDEX ix_foldrace_workers_study_id ON public.foldrace_workers USING btree (study_id);
CREATE UNIQUE INDEX ix_studies_study_name ON public.studies USING btree (study_name);
CREATE INDEX ix_trials_study_id ON public.trials USING btree (study_id);
ALTER TABLE ONLY public.study_directions
    ADD CONSTRAINT study_directions_study_id_fkey FOREIGN KEY (study_id) REFERENCES public.studies(study_id);
ALTER TABLE ONLY public.study_system_attributes
    ADD CONSTRAINT study_system_attributes_study_id_fkey FOREIGN KEY (study_id) REFERENCES public.studies(study_id);
ALTER TABLE ONLY public.study_user_attributes
    ADD CONSTRAINT study_user_attributes_study_id_fkey FOREIGN KEY (study_id) REFERENCES public.studies(study_id);
ALTER TABLE ONLY public.trial_heartbeats
    ADD CONSTRAINT trial_heartbeats_trial_id_fkey FOREIGN KEY (trial_id) REFERENCES public.trials(trial_id);
ALTER TABLE ONLY public.trial_intermediate_values
    ADD CONSTRAINT trial_intermediate_values_trial_id_fkey FOREIGN KEY (trial_id) REFERENCES public.trials(trial_id);
ALTER TABLE ONLY public.trial_params
    ADD CONSTRAINT trial_params_trial_id_fkey FOREIGN KEY (trial_id) REFERENCES public.trials(trial_id);
ALTER TABLE ONLY public.trial_system_attributes
    ADD CONSTRAINT trial_system_attributes_trial_id_fkey FOREIGN KEY (trial_id) REFERENCES public.trials(trial_id);
ALTER TABLE ONLY public.trial_user_attributes
    ADD CONSTRAINT trial_user_attributes_trial_id_fkey FOREIGN KEY (trial_id) REFERENCES public.trials(trial_id);
ALTER TABLE ONLY public.trial_values
    ADD CONSTRAINT trial_values_trial_id_fkey FOREIGN KEY (trial_id) REFERENCES public.trials(trial_id);
ALTER TABLE ONLY public.trials
    ADD CONSTRAINT trials_study_id_fkey FOREIGN KEY (study_id) REFERENCES public.studies(study_id);
