#!/usr/bin/env bash
# The whole story with curl over JSON, against PORTAL_URL with PORTAL_OPERATOR_PASSWORD_FILE. Needs curl and jq.
# Exit code 0: all as it must be; else the line that was not is the last one printed.
set -euo pipefail
shopt -s inherit_errexit

: "${PORTAL_URL:?}" "${PORTAL_OPERATOR_PASSWORD_FILE:?}"
data=$(cd "$(dirname "$0")/../../.." && pwd)/crates/valuation/tests/data
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
run=$(tr -dc a-z0-9 </dev/urandom | head -c 10 || true)
password='it'\''s a "long" password; AND more'

# send VERB TOKEN PATH [BODY]: the reply on standard output. The status must be $expect.
send() {
    local arguments=(-sS --max-time 60 -X "$1" -o "$work/reply" -w '%{http_code}')
    if [[ -n $2 ]]; then arguments+=(-H "authorization: Bearer $2"); fi
    if [[ $# -gt 3 ]]; then arguments+=(--json "$4"); fi
    local code
    code=$(curl "${arguments[@]}" "$PORTAL_URL$3")
    if [[ $code != "${expect:-200}" ]]; then
        echo "FAIL $1 $3: HTTP $code, not ${expect:-200}: $(head -c 2000 "$work/reply")" >&2
        return 1
    fi
    cat "$work/reply"
}
post() { send POST "$@"; }
get() { send GET "$@"; }
same() {
    if [[ $2 != "$3" ]]; then
        echo "FAIL $1: $2, not $3" >&2
        return 1
    fi
    echo "ok   $1"
}
session() { post '' /v1/sessions "$(jq -n --arg email "$1" --arg password "$2" '$ARGS.named')" | jq -r .session.accessToken; }
account() {
    post '' /v1/accounts "$(jq -n --arg email "$1-$run@example.org" --arg password "$password" --arg displayName "$1" '$ARGS.named')"
}

operator=$(session operator@portal.local "$(<"$PORTAL_OPERATOR_PASSWORD_FILE")")
office_id=$(account office | jq -r .accountId)
roles=$(post "$operator" "/v1/accounts/$office_id:setRoles" '{"roles": ["controller"]}' | jq -c '.roles | sort')
same 'the operator makes a controller' "$roles" '["controller","subject"]'
office=$(session "office-$run@example.org" "$password")

purpose() {
    local body id
    body=$(jq -n --arg name "$1" --arg data "$2" '{purpose:
        {displayName: $name, personalData: [$data], legalBasis: "LEGAL_BASIS_CONSENT", retention: "63072000s", jurisdiction: "DE"}}')
    id=$(post "$office" /v1/purposes "$body" | jq -r .purposeId)
    post "$office" "/v1/purposes/$id:publish" '{}' | jq -r .purposeId
}
research=$(purpose 'Handwriting research' pd:Handwriting)
newsletter=$(purpose Newsletter pd:EmailAddress)
notice=$(post "$office" /v1/notices "$(jq -n --arg a "$research" --arg b "$newsletter" \
    '{notice: {title: "Handwriting study", purposeIds: [$a, $b], bodies: {en: "# Study"}}}')" | jq -r .noticeId)
published=$(post "$office" "/v1/notices/$notice:publish" '{}' | jq -r '"\(.state) \(.revision) \(.contentHash | length)"')
same 'a notice is published' "$published" 'STATE_PUBLISHED 1 64'

ada_id=$(account ada | jq -r .subjectId) ada=$(session "ada-$run@example.org" "$password")
ben_id=$(account ben | jq -r .subjectId) ben=$(session "ben-$run@example.org" "$password")
# decide TOKEN SUBJECT PURPOSE VERB
decide() {
    post "$1" "/v1/consents:$4" "$(jq -n --arg subjectId "$2" --arg purposeId "$3" --arg noticeId "$notice" \
        '$ARGS.named + {language: "en", method: "INDICATION_METHOD_BUTTON"}')" | jq -r .consent.status
}
withdraw() {
    post "$1" /v1/consents:withdraw "$(jq -n --arg subjectId "$2" --arg purposeId "$3" '$ARGS.named')" | jq -r .consent.status
}
check() {
    post "$office" /v1/consents:check "$(jq -n --arg subjectId "$1" --arg purposeId "$2" '$ARGS.named')" |
        jq -r '"\(.decision) \(.reason)" | gsub("DECISION_|REASON_"; "")'
}
same 'Ada gives' "$(decide "$ada" "$ada_id" "$research" give)" CONSENT_STATUS_GIVEN
same 'Ada refuses' "$(decide "$ada" "$ada_id" "$newsletter" refuse)" CONSENT_STATUS_REFUSED
same 'Ben gives' "$(decide "$ben" "$ben_id" "$research" give)" CONSENT_STATUS_GIVEN
same 'Ben gives both' "$(decide "$ben" "$ben_id" "$newsletter" give)" CONSENT_STATUS_GIVEN
same 'Ben withdraws' "$(withdraw "$ben" "$ben_id" "$newsletter")" CONSENT_STATUS_WITHDRAWN
same 'given is permitted' "$(check "$ada_id" "$research")" 'PERMIT CONSENT_GIVEN'
same 'refused is denied' "$(check "$ada_id" "$newsletter")" 'DENY CONSENT_REFUSED'
same 'withdrawn is denied' "$(check "$ben_id" "$newsletter")" 'DENY CONSENT_WITHDRAWN'
same 'one row per purpose' "$(get "$ben" "/v1/subjects/$ben_id/consents" | jq '.consents | length')" 2
same 'the history stays' "$(get "$ben" "/v1/subjects/$ben_id/consentEvents" | jq '.events | length')" 3

# refused HTTP TEXT CODE REASON FIELD VERB TOKEN PATH [BODY]
refused() {
    local found
    found=$(expect=$1 send "${@:6}" |
        jq -r '"\(.code) \([.details[] | .reason // empty] | join(" ")) \([.details[].fieldViolations[]?.field] | join(" "))"')
    same "$2" "$found" "$3 $4 $5"
}
refused 403 "Ben on Ada's consents" 7 NOT_YOUR_DATA '' GET "$ben" "/v1/subjects/$ada_id/consents"
refused 401 'no token' 16 TOKEN_MISSING '' GET '' "/v1/subjects/$ada_id/consents"
refused 401 'a made-up token' 16 TOKEN_INVALID '' GET made-up "/v1/subjects/$ada_id/consents"
refused 403 'a person makes a purpose' 7 ROLE_NOT_ALLOWED '' POST "$ada" /v1/purposes '{}'
refused 400 'a field that is not' 3 INVALID_FIELD colour POST "$ada" /v1/consents:give '{"colour": "red"}'
refused 400 'a negative page size' 3 INVALID_FIELD page_size GET "$ada" "/v1/subjects/$ada_id/consents?pageSize=-1"
refused 400 'a page token of nobody' 3 INVALID_FIELD page_token GET "$ada" "/v1/subjects/$ada_id/consents?pageToken=bogus"
refused 400 'an id of the wrong shape' 3 INVALID_FIELD subject_id GET "$ada" /v1/subjects/42/consents
refused 400 'half a body' 3 JSON_MALFORMED '' POST "$ada" /v1/consents:give '{"subjectId": '
refused 404 'a path that is not' 5 PATH_UNKNOWN '' GET "$ada" /v1/nothing

dataset=$(post "$office" /v1/datasets "$(jq -n --arg purposeId "$research" \
    '{dataset: {displayName: "Digits", task: "TASK_CLASSIFICATION", featureCount: 64, purposeId: $purposeId}}')" | jq -r .datasetId)
# One batch a line: the records of a split in order, each second one Ben's.
batches() {
    tail -n +2 "$data/digits.csv" | jq -Rnc --arg split "$1" --arg ada "$ada_id" --arg ben "$ben_id" '
        [inputs | split(",") | select(.[1] == $split)] | to_entries | _nwise(300) | {batch: {
            recordIds: map(.value[0]), subjectIds: map(if .key % 2 == 0 then $ada else $ben end),
            features: map(.value[3:][] | tonumber), labels: map(.value[2] | tonumber), split: "SPLIT_\($split)"}}'
}
appended=0
for split in TRAIN VALIDATION; do
    while read -r batch; do
        printf '%s' "$batch" >"$work/batch"
        count=$(post "$office" "/v1/datasets/$dataset:appendRecords" "@$work/batch" | jq -r .appendedCount)
        appended=$((appended + count))
    done < <(batches $split)
done
same 'the digits are in' "$appended" 1797

# value: values the dataset, prints the valuation as it is at the end
value() {
    local name operation
    name=$(post "$office" "/v1/datasets/$dataset:value" '{"method": "METHOD_KNN_SHAPLEY", "parameters": {"k": 5}}' | jq -r .name)
    for _ in $(seq 300); do
        operation=$(get "$office" "/v1/$name")
        if [[ $(jq -r .done <<<"$operation") == true ]]; then
            jq -c '.response // .error' <<<"$operation"
            return
        fi
        sleep 0.1
    done
    echo "FAIL $name does not end: $operation" >&2
    return 1
}
# values ID: every value, in pages, as lines of "record value"
values() {
    local token='' page
    while :; do
        page=$(get "$office" "/v1/valuations/$1/recordValues?pageSize=500&pageToken=$token")
        jq -r '.recordValues[] | "\(.recordId) \(.value // 0)"' <<<"$page"
        token=$(jq -r '.nextPageToken // "" | @uri' <<<"$page")
        if [[ -z $token ]]; then return; fi
    done
}
everybody=$(value)
same 'everybody is valued' "$(jq -r '"\(.state) \(.recordCount) \(.exclusions // [] | length)"' <<<"$everybody")" 'VALUATION_STATE_SUCCEEDED 1297 0'
values "$(jq -r .valuationId <<<"$everybody")" | sort >"$work/values"
tail -n +2 "$data/digits.knn_shapley.k5.csv" | tr , ' ' | sort >"$work/golden"
off=$(join "$work/values" "$work/golden" | awk '{ d = $2 - $3; if (d < 0) d = -d; if (d > 1e-9) off++ } END { print NR, off + 0 }')
same 'each value is the golden one' "$off" '1297 0'

same 'Ada withdraws' "$(withdraw "$ada" "$ada_id" "$research")" CONSENT_STATUS_WITHDRAWN
rest=$(value)
same 'Ada is left out' \
    "$(jq -r '"\(.recordCount) \(.exclusions[] | "\(.cause) \(.trainingRecordCount) \(.validationRecordCount) \(.subjectCount)")"' <<<"$rest")" \
    '648 CAUSE_NOT_PERMITTED 649 250 1'
same 'none of her values is there' "$(values "$(jq -r .valuationId <<<"$rest")" | wc -l)" 648
own=$(get "$ben" "/v1/valuations/$(jq -r .valuationId <<<"$rest")/subjectValues/$ben_id" | jq -r .recordCount)
same 'Ben reads his own value' "$own" 648
