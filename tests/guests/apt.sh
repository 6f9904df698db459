# An apt of a recipe's own, for the packages of one suite. Sourced with `work`,
# `suite`, `mirror` and `keyring` set: the host's sources, lists and status are
# neither read nor written.
mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/parts"

# shellcheck disable=SC2154 # who sources this sets them
echo "deb [signed-by=$keyring] $mirror $suite main" >"$work/sources.list"
cat >"$work/apt.conf" <<CONF
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "$work/parts";
Dir::Etc::preferences "$work/none";
Dir::Etc::preferencesparts "$work/parts";
Dir::State::lists "$work/lists";
Dir::State::status "/dev/null";
Dir::Cache "$work";
Dir::Cache::archives "$work/archives";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
APT::Sandbox::User "root";
CONF
export APT_CONFIG="$work/apt.conf"
apt-get -qq update
