"""Who runs each command of the documentation; `test_commands.py` holds it against the pages."""

_HERE = "tests/docs/test_commands_run.py::test_"
_POD = "kubectl -n argocd exec deploy/argocd-server -c token-refresh -- "
_LOGS = "kubectl -n argocd logs deploy/argocd-server -c token-refresh"

RUN_BY = {
    f"{_HERE}after_the_installation_four_looks_say_that_it_is_well": [
        f"{_POD}sidecar config",
        f"{_POD}sidecar doctor --outside",
        f"{_LOGS} | grep -E 'logins_pass|argocd_config'",
        "sidecar doctor --outside",
    ],
    f"{_HERE}the_runbooks_three_looks_show_log_parts_and_readiness": [
        f'{_LOGS} --since=15m | grep -v \'"level": "info"\'',
        "kubectl -n argocd port-forward deploy/argocd-server 9090 & curl -s localhost:9090/readyz",
    ],
    f"{_HERE}the_doctor_is_asked_as_pages_ask_it": [f"{_POD}sidecar doctor", "sidecar doctor"],
    f"{_HERE}a_persons_session_is_listed_and_ended_as_printed": [
        f"{_POD}sidecar sessions list",
        f"{_POD}sidecar sessions end --user ada@example.org --revoke",
        "sidecar sessions list",
        "sidecar sessions end --user ada@example.org --revoke",
    ],
    f"{_HERE}the_rotation_is_asked_for_its_next_step_as_printed": [
        f"{_POD}sidecar keys rotate",
        "sidecar keys rotate",
    ],
    f"{_HERE}a_new_key_is_written_behind_the_old_one_as_printed": [
        "umask 077",
        "kubectl -n argocd get secret argocd-token-refresh "
        "-o jsonpath='{.data.SIDECAR_SESSION_KEYS}' | base64 -d > keys",
        "echo >> keys",
        f"{_POD}sidecar keys new 2027a >> keys",
        "{ echo 'stringData:'; echo ' SIDECAR_SESSION_KEYS: |'; sed 's/^/ /' keys; } | "
        "kubectl -n argocd patch secret argocd-token-refresh --patch-file /dev/stdin",
        "sidecar keys new 2027a",
    ],
    f"{_HERE}renewals_are_counted_where_a_page_looks_for_them": [
        "kubectl -n argocd port-forward deploy/argocd-server 9090 &",
        "curl -s localhost:9090/metrics | grep renewals_total",
        "curl -s localhost:9090/readyz",
        _LOGS,
    ],
    f"{_HERE}a_person_ends_their_sessions_by_curl_as_printed": [
        "curl -b \"$COOKIES\" -H 'Accept: application/json' "
        "https://argocd.example.org/_sidecar/session",
        "curl -b \"$COOKIES\" -H 'Accept: application/json' "
        "-H 'Origin: https://argocd.example.org' -d token=\"$TOKEN\" -d action=end "
        "-d session=0123456789abcdef https://argocd.example.org/_sidecar/session",
        'curl … -d token="$TOKEN" -d action=end-others https://argocd.example.org/_sidecar/session',
    ],
    f"{_HERE}what_reading_from_the_kubernetes_api_takes_is_what_the_page_says": [
        ".venv/bin/python -c 'import resource as r, sidecar.app; "
        "m = lambda: r.getrusage(0).ru_maxrss // 1024; a = m(); "
        "import sidecar.adapters.kubernetes_api; print(m() - a)'",
    ],
    f"{_HERE}a_tables_command_prints_the_table": [
        ".venv/bin/python -c 'from sidecar.config.documentation import configuration_table as t; "
        'print(t(), end="")\'',
        ".venv/bin/python -c 'from tests.attacks.document import attack_tables as t; "
        'print(t(), end="")\'',
    ],
    "tests/doctor/test_troubleshooting.py::"
    "test_doctor_is_followed_by_a_login_with_curl_that_works_as_printed": [
        "ARGOCD=https://argocd.example.org",
        "RESOLVE=argocd.example.org:443:10.0.0.12",
        "ISSUER=https://idp.example.org/realms/argocd",
        'curl -sS "$ISSUER/.well-known/openid-configuration" | grep -o \'"issuer": *"[^"]*"\'',
        'curl -sS --resolve "$RESOLVE" "$ARGOCD/api/version"',
        "curl -sS -o /dev/null --resolve \"$RESOLVE\" -c jar -w '%{http_code} %{redirect_url}\\n' "
        '"$ARGOCD/auth/login"',
        "LOGIN=$(curl -sS -o /dev/null --resolve \"$RESOLVE\" -c jar -w '%{redirect_url}' "
        '"$ARGOCD/auth/login")',
        "grep -c 'argocd-token-refresh-.*-login-' jar",
        "BACK=$(curl -sS -o /dev/null -w '%{redirect_url}' -d user=ada -d password=ada \"$LOGIN\")",
        "echo \"$BACK\" | grep -o '^[^?]*'",
        'curl -sS -o /dev/null --resolve "$RESOLVE" -b jar -c jar '
        "-w '%{http_code} %{redirect_url}\\n' \"$BACK\"",
        'curl -sS --resolve "$RESOLVE" -b jar "$ARGOCD/api/v1/session/userinfo"',
        'curl -sS -o /dev/null --resolve "$RESOLVE" -b jar -c jar '
        "-w '%{http_code}\\n' \"$ARGOCD/auth/logout\"",
        "rm jar",
    ],
    "tests/doctor/test_command.py::test_doctor_reports_no_fault_on_the_demo": [
        "sidecar doctor --json"
    ],
    "tests/doctor/test_command.py::test_doctor_logs_a_test_user_in_and_prints_no_password": [
        "sidecar doctor --login"
    ],
    "tests/system/test_command_line.py::"
    "test_the_effective_configuration_is_shown_with_its_sources_and_without_its_secrets": [
        "sidecar config"
    ],
    "tests/system/test_command_line.py::"
    "test_the_demo_checks_itself_and_prints_what_the_others_counted": ["sidecar demo"],
    "tests/system/test_command_line.py::"
    "test_a_process_that_is_told_to_end_does_so_and_says_goodbye_cleanly": ["sidecar run"],
    "tests/system/test_command_line.py::test_a_new_key_is_one_that_the_configuration_takes": [
        "sidecar keys new",
        "sidecar keys new 2026a",
    ],
    "tests/commands/test_keys.py::test_a_whole_rotation_ends_nobodys_session_and_says_each_step": [
        "sidecar keys status",
        "sidecar sessions end --key 2026a",
    ],
    "tests/commands/test_keys.py::test_a_derived_key_does_not_rotate_and_says_how_it_can_be_left": [
        "sidecar keys derived"
    ],
    "tests/commands/test_sessions.py::test_programs_get_a_line_for_each_with_all_of_it": [
        "sidecar sessions list --json"
    ],
    "tests/commands/test_sessions.py::test_all_sessions_end_where_it_is_said_twice": [
        "sidecar sessions end --all"
    ],
    "tests/commands/test_sessions.py::"
    "test_all_with_revoke_takes_grants_that_no_session_has_any_more": [
        "sidecar sessions end --all --yes --revoke"
    ],
    "tests/commands/test_rules.py::test_the_documentation_shows_what_the_command_prints": [
        "sidecar rules try rules.yaml --token-file token",
    ],
    "tests/system/test_command_line.py::"
    "test_a_file_of_rules_is_checked_and_tried_from_the_command_line": [
        "sidecar rules check",
        "sidecar rules check rules.yaml",
        "sidecar rules try",
    ],
    "tests/commands/test_sessions.py::"
    "test_a_users_sessions_end_for_their_browsers_and_nobody_elses": [
        "sidecar sessions end --user NAME",
        "sidecar sessions",
        "sidecar sessions end",
    ],
    "tests/bench/test_bench_commands.py::"
    "test_what_an_operators_commands_take_is_measured_for_each": ["python -m bench.commands"],
    "tests/bench/test_bench_streams.py::"
    "test_open_streams_are_measured_for_each_kind_of_connection": ["python -m bench.streams"],
    f"{_HERE}the_yardstick_of_sizes_is_told_in_milliseconds": [
        '.venv/bin/python -c "from bench.machine import yardstick_ms; print(yardstick_ms())"',
    ],
    "tests/bench/test_bench_told.py::"
    "test_what_is_told_of_a_request_is_measured_for_each_way_of_telling": ["python -m bench.told"],
}
"""A test, and the commands that it runs: as they are printed, or with the same arguments."""

BY_CI = {
    "check-deploy",
    "coverage",
    "docs",
    "mutation",
    "soak",
    "test",
    "test-chaos",
    "test-failover",
}
"""What `.ci/run` has make do."""

BY_ANOTHER = {
    "fuzz": "test",
    "lint": "test",
    "sbom": "check-deploy",
    "test-attacks": "tests/attacks/test_attacks.py::test_an_attack_is_stopped",
    "test-py": "test",
    "types": "test",
    "bench": "tests/bench/test_bench_proxies.py::"
    "test_all_that_the_table_and_the_ratios_show_is_measured",
    "sizing": "tests/bench/test_bench_sizing.py::test_the_command_reckons_for_people_of_ones_own",
    "bench-refresh": "tests/bench/test_bench_refresh.py::test_all_that_the_table_shows_is_measured",
    "demo": "tests/system/test_command_line.py::"
    "test_the_demo_checks_itself_and_prints_what_the_others_counted",
}
"""What make does as a part of something else, or for which a test runs the same program."""

BY_HAND = {
    "clean": "takes away what the others are using",
    "demo-picture": "a minute of a browser before the demo, which is filmed",
    "dashboard-picture": "four minutes at Prometheus; tests/bench/test_panels.py has its parts",
    "store-failures": "minutes, and a page's table; `make test-failover` has a part of it",
    "lock": "asks the package index what is newest",
}
"""What make does and nobody runs unasked, and why."""

ELSEWHERE = {
    "Argo CD's own command line, and an Argo CD": [
        "argocd login --sso",
        "argocd login argocd.example.org --grpc-web",
        "argocd login localhost:8090 --username admin",
        "argocd --grpc-web",
        "argocd account generate-token --account ci --expires-in 2160h > ci",
        "argocd proj role create-token default deployer --expires-in 2160h --token-only",
    ],
    "Argo Workflows' own command line, and an Argo Workflows": [
        "export ARGO_SERVER=workflows.example.org:443 ARGO_HTTP1=true ARGO_SECURE=true "
        'ARGO_TOKEN="Bearer $TOKEN"',
        "argo submit -n argo --from workflowtemplate/build --wait",
    ],
    "a provider's account for a machine, and an Argo CD that takes its token": [
        'ARGOCD_AUTH_TOKEN=$(curl -sSf -u "argocd-ci:$CLIENT_SECRET" '
        "-d grant_type=client_credentials "
        "https://keycloak.example.org/realms/main/protocol/openid-connect/token "
        "| jq -r .access_token)",
        'curl -sSf -H "Authorization: Bearer $ARGOCD_AUTH_TOKEN" '
        "https://argocd.example.org/api/v1/applications",
        "curl -sSf https://argocd.example.org/api/dex/token --user argocd-machines:not-a-secret "
        "--data-urlencode connector_id=github-actions "
        "--data-urlencode grant_type=urn:ietf:params:oauth:grant-type:token-exchange "
        '--data-urlencode "scope=openid profile federated:id" '
        "--data-urlencode requested_token_type=urn:ietf:params:oauth:token-type:id_token "
        "--data-urlencode subject_token_type=urn:ietf:params:oauth:token-type:id_token "
        '--data-urlencode "subject_token=$GITHUB_TOKEN_FOR_DEX" | jq -r .access_token',
    ],
    "a container engine; tests/deploy/test_dockerfile.py does what the Dockerfile says": [
        "docker build -t argocd-token-refresh:0.1.0 .",
        "docker build -t images.example.org/argocd-token-refresh:0.1.0 .",
        "docker push images.example.org/argocd-token-refresh:0.1.0",
        "kind create cluster",
        "kind delete cluster",
        "kind load docker-image argocd-token-refresh:0.1.0",
    ],
    "a cluster; tests/deploy renders what is applied": [
        "helm -n argocd rollback argocd",
        "helm -n argocd upgrade argocd argo/argo-cd -f your-values.yaml -f deploy/helm/values.yaml",
        "kubectl -n argocd apply -f deploy/monitoring/podmonitor.yaml "
        "-f deploy/monitoring/alerts.yaml",
        "kubectl -n monitoring create configmap argocd-token-refresh-dashboard "
        "--from-file=deploy/monitoring/dashboard.json",
        "kubectl -n monitoring label configmap argocd-token-refresh-dashboard grafana_dashboard=1",
        "kubectl apply --server-side --force-conflicts -k deploy/getting-started/with",
        "kubectl apply --server-side --force-conflicts -k deploy/getting-started/without",
        "kubectl apply -k .",
        "kubectl create namespace argocd",
        "kubectl diff -k .",
    ],
    "a cluster": [
        "kubectl -n argocd create secret generic argocd-token-refresh "
        "--from-literal=SIDECAR_STORE_URL='redis://:<password>@<host>:6379/0'",
        "kubectl -n argo exec deploy/argo-server -c token-refresh -- sidecar doctor",
        "kubectl -n argocd create secret generic argocd-machine-tokens --from-file=ci && rm ci",
        "kubectl -n argocd delete ingress argocd-token-refresh",
        "kubectl -n argocd get pods",
        "kubectl -n argocd get secret argocd-initial-admin-secret "
        "-o jsonpath='{.data.password}' | base64 -d",
        "kubectl -n argocd patch argocd argocd --type=json -p '[ "
        '{"op": "remove", "path": "/spec/server/sidecarContainers"}, '
        '{"op": "remove", "path": "/spec/server/extraCommandArgs"}]\'',
        "kubectl -n argocd patch configmap argocd-cmd-params-cm --type merge -p "
        '\'{"data": {"server.dex.server": "http://localhost:5556", '
        '"server.dex.server.plaintext": "true"}}\'',
        "kubectl -n argocd port-forward deploy/argocd-server 8090",
        "kubectl -n argocd port-forward deploy/argocd-server 8090 &",
        "kubectl -n argocd port-forward deploy/argocd-server 8090:8090",
        "kubectl -n argocd port-forward svc/argocd-server 8080:443 &",
        "kubectl -n argocd port-forward svc/login 5556 &",
        "kubectl -n argocd rollout restart deploy/argocd-server",
        "kubectl -n argocd rollout status deploy/argocd-server",
        "kubectl -n argocd rollout status deploy/login",
        "kubectl -n argocd rollout undo deploy/argocd-server",
        "kubectl -n argocd scale deploy/login --replicas=0",
        "kubectl -n argocd scale deploy/login --replicas=1",
        "kubectl -n devtroncd exec deploy/devtron-token-refresh -- sidecar doctor",
    ],
    "named, and not to be typed as it stands": [
        "kubectl exec",
        "kubectl exec -it",
        "kubectl get pods",
        "kubectl kustomize",
        "kubectl patch",
        "kubectl port-forward",
    ],
    "a pod: lines of its environment": [
        "SIDECAR_STORE_CA_FILE=/store/ca.crt",
        "SIDECAR_STORE_PASSWORD_FILE=/store/password",
        "SIDECAR_STORE_TLS_CERT_FILE=/store/tls.crt",
        "SIDECAR_STORE_TLS_KEY_FILE=/store/tls.key",
        "SIDECAR_STORE_URL=rediss://token-refresh@redis.example.org:6379/0",
        "SIDECAR_TLS_CERT_FILE=/tls/tls.crt",
        "SIDECAR_TLS_KEY_FILE=/tls/tls.key",
    ],
    "a package index that has it: none is published yet": [
        "pip install 'argocd-token-refresh[otel]'",
        "pip install argocd-token-refresh[kubernetes]",
    ],
    "root, on a machine of one's own": [
        "sudo apt-get install nginx-light haproxy apache2 libapache2-mod-auth-openidc wrk",
    ],
}
"""What a command needs that CI has not, and the commands."""
