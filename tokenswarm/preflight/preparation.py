"""Before the load: environment files, Key Vault, identity and settings, with all problems listed."""

from __future__ import annotations

from locust.runners import MasterRunner

import dataclasses
import gc
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gevent import get_hub

from tokenswarm.client.sdk import load_sdk
from tokenswarm.config.build import build_settings
from tokenswarm.config.chat_url import DEFAULT_SCOPE, read_chat_url, token_scope
from tokenswarm.config.environment import (
    Environment,
    check_environment,
    endpoint_problems,
    identity_variables,
    option_defaults,
    read_environment,
)
from tokenswarm.config.given_options import (
    Agreed,
    agreed_of_files,
    agreed_of_launch,
    blank_options,
    repeated_options,
    scenario_problems,
)
from tokenswarm.config.request_extras import references as referenced
from tokenswarm.config.settings import OTHER, Settings
from tokenswarm.keys.entra import EntraTokens, default_credential
from tokenswarm.keys.keyvault import fetch_secrets, key_vault_references
from tokenswarm.preflight.engines import Engines, read_engines
from tokenswarm.preflight.first_request import describe_cost, try_targets
from tokenswarm.preflight.forecast import forecast_tokens
from tokenswarm.preflight.load_limits import check_bounds, check_load, check_search, check_start_up, is_loopback
from tokenswarm.preflight.machine_limits import Machine, check_limits
from tokenswarm.preflight.reachability import check_targets, choose_model
from tokenswarm.preflight.target_line import describe_targets
from tokenswarm.redaction import SECRETS, redact_handlers
from tokenswarm.results.run_directory import check_results
from tokenswarm.transport.proxies import proxy_secrets
from tokenswarm.userinput import BadInput, parse_duration
from tokenswarm.workload.arrivals import Assignment

if TYPE_CHECKING:
    from locust.env import Environment as LocustEnvironment

DEFAULT_CONFIGS = (Path("~/.locust.conf").expanduser(), Path("locust.conf"), Path("pyproject.toml"))
"""Files that Locust reads beside the one of `--config`."""

logger = logging.getLogger(__name__)


class Preparation:
    """Everything that must be right before users start, for one Locust environment."""

    def __init__(self, environment: LocustEnvironment) -> None:
        assert environment.parsed_options is not None
        self._locust = environment
        self._options = environment.parsed_options
        self.targets = {target for user in environment.user_classes if (target := getattr(user, "target", None))}
        self.scenario = scenario_path(sys.argv)
        self.secrets = SECRETS
        self.engines = Engines()
        self.first_requests: dict[str, Any] | None = None
        """What was asked of the targets before the start, for run.json; `None` when nothing was."""
        self._environment: Environment | None = None
        self._token: EntraTokens | None = None
        self._launched: tuple[str, ...] | None = None
        self._agreed_at_launch = agreed_of_launch(vars(self._options))

    def prepare(self, is_worker: bool, has_web_ui: bool) -> None:
        """Check everything once, before anything is sent. Raises `BadInput` with all problems."""
        redact_handlers(self.secrets)
        silence_client_logs()
        self.engines = read_engines(os.environ)
        environment = self._read()
        if "chat" in self.targets and (is_worker or has_web_ui):
            load_sdk()  # not at the start; without either, describing the target loads it now if it is needed at all
        if is_worker:
            return  # the master's options arrive with the start
        self._adopt_defaults(environment)
        given = (self._locust.host, self._own_host(), self._options.rag_host)
        self._launched = tuple(str(endpoint) for endpoint in given if endpoint)
        self._check_given()
        settings = self.settings()
        if not has_web_ui:
            self.check_load(settings)
            self.check_targets(settings)
        elif not is_loopback(self._options.web_host) and not self._options.web_login:
            logger.warning(
                "The web UI is open to the network, and whoever reaches it can start a load with your keys: "
                "use --web-login, or leave --web-host at its default of 127.0.0.1"
            )
        # Timers count from the loop's last look at the clock. Where nothing has been asked of the network so far, that
        # lies before all imports, and Locust's run time, which is set next, would end seconds too early.
        get_hub().loop.update_now()

    def _check_given(self) -> None:
        """What Locust's parser has lost of the options that say when a run has failed. Raises `BadInput`."""
        problems = blank_options(vars(self._options)) + repeated_options(sys.argv[1:])
        for path in (*DEFAULT_CONFIGS, self.scenario):
            if path is not None and path.suffix != ".toml" and path.is_file():
                problems += scenario_problems(path.read_text(encoding="utf-8", errors="replace"), str(path))
        if problems:
            raise BadInput(problems)

    def settings(self) -> Settings:
        """The settings as options and environment stand now. Raises `BadInput`."""
        return self._settings_of(vars(self._options), self._locust.host)

    def check_start(self, options: dict[str, Any], host: str | None) -> None:
        """Whether a start with these options and this host could be, targets asked. Raises `BadInput`."""
        settings = self._settings_of(options, host)
        self.check_load(settings, options)
        self.reach_targets(self._with_model(settings)[0])

    def _settings_of(self, options: dict[str, Any], host: str | None) -> Settings:
        environment = self._environment if self._environment is not None else self._read()
        scenario = str(self.scenario) if self.scenario else None
        given = {**options, "host": host or self._own_host()}
        token = self._token_source(options, environment)
        settings = build_settings(given, environment, self.targets, scenario, token, self._launched)
        for secret in settings.secrets:
            self.secrets.add(secret)
        return settings

    @property
    def agreed(self) -> Agreed | None:
        """The criteria of the scenario file, or those that the process was started with."""
        return agreed_of_files((self.scenario, *reversed(DEFAULT_CONFIGS))) or self._agreed_at_launch

    def _own_host(self) -> str | None:
        """What a locustfile with an API of its own says where that is, in Locust's way: by its class."""
        users = [user for user in self._locust.user_classes if getattr(user, "target", None) == OTHER]
        return next((str(user.host) for user in users if user.host), None)

    def check_load(self, settings: Settings, options: Mapping[str, Any] | None = None) -> None:
        """Whether this machine can carry the load, and whether it was meant; with the options as they stand, or would.
        Raises `BadInput`; may log warnings."""
        options = vars(self._options) if options is None else options
        given, processes = options.get("num_users"), options.get("processes")
        users = 1 if given is None else int(given)
        run_time_s, spawn_rate = options.get("run_time"), options.get("spawn_rate") or 1.0
        problems = check_bounds(settings, users, run_time_s) + check_start_up(settings, users, spawn_rate, run_time_s)
        problems += check_search(settings, run_time_s, self._locust.stop_timeout or 0.0)
        problems += check_load(settings, users, forecast_tokens(settings, dict(options)))
        if not isinstance(self._locust.runner, MasterRunner) or processes:  # else the users are elsewhere
            refused, warnings = check_limits(Machine.here(), users, _process_count(processes))
            problems += refused
            for warning in warnings:
                logger.warning("%s", warning)
        recording = settings.traffic.recording
        if recording is not None and recording.warning is not None:
            logger.warning("%s", recording.warning)
        problems += check_results(settings.results, settings.test_name)
        if problems:
            raise BadInput(problems)

    def reach_targets(self, settings: Settings) -> None:
        """Look at the targets without asking them anything that costs tokens. Raises `BadInput`."""
        if problems := check_targets(settings):
            raise BadInput(problems)

    def check_targets(self, settings: Settings) -> Settings:
        """Ask the targets whether they answer, as the option `preflight` says; the settings, adapted to what they
        refuse. Raises `BadInput`."""
        self.first_requests = None
        if settings.chat is not None and settings.chat.lacks_model:
            settings, model = self._with_model(settings)
            self._options.deployment = model  # workers take it from here
        options, environment = self._options, self._environment or Environment({}, {})
        for line in describe_targets(settings, {**vars(options), "host": self._locust.host}, environment):
            logger.info("%s", line)
        if settings.preflight == "none":
            return settings
        if settings.preflight == "reach":
            self.reach_targets(settings)
            return settings
        found = try_targets(settings)
        if found.problems:
            raise BadInput(found.problems)
        for line in (*found.adapted, *filter(None, [describe_cost(found.sent)])):
            logger.info("Before the start: %s", line)
        for warning in found.warnings:
            logger.warning("%s", warning)
        self.first_requests = found.facts()
        if found.adapted:  # workers take it from here
            options.max_tokens_field = found.settings.max_tokens_field
            options.stream_usage = "yes" if found.settings.stream_usage else "no"
        return found.settings

    def _with_model(self, settings: Settings) -> tuple[Settings, str]:
        """The settings with the service's only model where none was named, and that. Raises `BadInput`."""
        if settings.chat is None or not settings.chat.lacks_model:
            return settings, settings.chat.deployment if settings.chat is not None else ""
        model = choose_model(settings)
        logger.info("Before the start: the model is %s, the only one that is listed", model)
        return dataclasses.replace(settings, chat=dataclasses.replace(settings.chat, deployment=model)), model

    def request_name(self, target: str) -> str:
        """The request name of the first user class for a target; for rows of arrivals that nobody took."""
        users = (user for user in self._locust.user_classes if getattr(user, "target", None) == target)
        return next((str(getattr(user, "request_name", "")) for user in users), target)

    def engine_assignment(self) -> Assignment:
        """A local process's share of an open plan: all of it, or one engine's where a service runs several."""
        position, count = self.engines.place(0, 1)
        return Assignment(0, position, count)

    def _keep_secret(self, environment: Environment) -> None:
        for secret in [*environment.secrets(), *proxy_secrets()]:
            self.secrets.add(secret)

    def _read(self) -> Environment:
        names = str(getattr(self._options, "env_file", None) or "")
        also = self._referenced_names()
        environment = read_environment([name.strip() for name in names.split(",") if name.strip()], also=also)
        for warning in environment.warnings:
            logger.warning("%s", warning)
        self._keep_secret(environment)
        references = key_vault_references(environment, also)
        if references:
            os.environ.update(identity_variables(environment))
            environment = environment.resolved(fetch_secrets(references))
            self._keep_secret(environment)
        if problems := check_environment(environment):
            raise BadInput(problems)
        self._environment = environment
        return environment

    def _referenced_names(self) -> list[str]:
        """The names that options refer to as `${NAME}`."""
        options = vars(self._options)
        return [
            name
            for option in ("headers", "query", "server_metrics")
            for name in referenced(str(options.get(option) or ""))
        ]

    def _adopt_defaults(self, environment: Environment) -> None:
        """Locust's own options that the environment names: the host, and the lab's DURATION."""
        options = self._options
        defaults = option_defaults(environment, options.endpoint)
        asks_app = options.endpoint == "app"  # the environment's chat endpoint is what the application itself asks
        name = "rag-host" if self.targets == {"rag"} or asks_app else "host"
        if not self._locust.host and defaults.get(name):
            self._locust.host = defaults[name]
        if options.run_time is None and defaults.get("run-time"):
            options.run_time = int(parse_duration(defaults["run-time"], "DURATION"))

    def _token_source(self, options: dict[str, Any], environment: Environment) -> EntraTokens | None:
        if options.get("auth") != "entra":
            return None
        scope = options.get("auth_scope") or self._scope(options, environment)
        if self._token is None or self._token.scope != scope:
            os.environ.update(identity_variables(environment))
            self._token = EntraTokens(default_credential(), scope)
            self._token.start()
        return self._token

    def _scope(self, options: dict[str, Any], environment: Environment) -> str:
        """The scope of a token for the API and the cloud that are asked."""
        host, given = options.get("host") or self._locust.host, options.get("api") or None
        if not host or endpoint_problems(host, "host"):
            return DEFAULT_SCOPE
        return token_scope(host, read_chat_url(host, environment, given).api)


def load_for_workers() -> None:
    """What a worker needs at its start, loaded now; workers that are forked next share its memory."""
    load_sdk()
    gc.freeze()  # as Locust does before it forks: a collection in a worker would copy these objects


def _process_count(processes: int | None) -> int:
    """Processes of `--processes`, where -1 means one for each core."""
    return max(1, processes if processes and processes > 0 else Machine.here().cores if processes else 1)


def scenario_path(arguments: list[str]) -> Path | None:
    """The file of `--config`, as Locust was told; `None` without one."""
    for position, argument in enumerate(arguments):
        if argument == "--config" and position + 1 < len(arguments):
            return Path(arguments[position + 1])
        if argument.startswith("--config="):
            return Path(argument.partition("=")[2])
    return None


def silence_client_logs() -> None:
    """The SDK's HTTP client logs a line for each request; Locust's workers stop shipping logs after 70 of them."""
    for name in ("httpx2", "httpx", "openai", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)
