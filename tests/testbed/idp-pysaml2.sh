#!/usr/bin/env bash
# A third real SAML 2.0 identity provider: pysaml2, which signs with EC keys through the xmlsec1 program.
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
TB_NAME=idp-pysaml2
svc_usage() { cat >&2 <<'U'
usage: idp-pysaml2.sh start|run|stop|status|logs|install|add-sp --dir DIR [options]
  --port P, --host NAME, --public-url URL
  --curve P-256|P-384|P-521 (default P-256), signed with the hash of the same strength;
                         it signs assertions (its own list of algorithms keeps it from signing responses so)
  --nameid email|persistent (default email)
U
}
svc_install() { tb_apt curl jq openssl procps xmlsec1 python3-venv; PYSAML2=$(tb_venv "$TB_ROOT/idp-pysaml2/requirements.txt"); }
svc_start() {
  local port=0 host=$TB_HOST public= curve=P-256 nameid=email
  while (($#)); do case $1 in
    --port) port=$2; shift 2;; --host) host=$2; shift 2;; --public-url) public=$2; shift 2;;
    --curve) curve=$2; shift 2;; --nameid) nameid=$2; shift 2;;
    *) svc_usage; tb_die "unknown option $1";;
  esac; done
  port=$(tb_port "$port"); local url=${public:-http://$host:$port}
  mkdir -p "$TB_DIR/sp.d"; cp "$TB_USERS" "$TB_DIR/users.json"
  [ -e "$TB_DIR/idp.key" ] || openssl req -x509 -newkey ec -pkeyopt "ec_paramgen_curve:$curve" -sha256 -nodes -days 30 -subj /CN=pysaml2 \
    -keyout "$TB_DIR/idp.key" -out "$TB_DIR/idp.crt" 2>/dev/null
  jq -n --argjson port "$port" --arg url "$url" --arg dir "$TB_DIR" --arg curve "$curve" --arg nameid "$nameid" '$ARGS.named' >"$TB_DIR/config.json"
  tb_spawn pysaml2 "$PYSAML2/bin/python" "$TB_ROOT/idp-pysaml2/server.py" "$TB_DIR/config.json"
  tb_wait_http "http://127.0.0.1:$port/metadata" 30 "$TB_DIR/pysaml2.pid"
  tb_info IDP_ENTITY_ID "$url/metadata" IDP_METADATA_URL "$url/metadata" IDP_SSO_URL "$url/sso" \
    TEST_USERS "$(jq -r 'map(.uid + ":" + .password) | join(",")' "$TB_DIR/users.json")"
}
svc_add-sp() { [ -s "$1" ] || tb_die "no such metadata file: $1"; cp "$1" "$TB_DIR/sp.d/$(sha256sum <"$1" | cut -c1-12).xml"; }
tb_main "$@"
