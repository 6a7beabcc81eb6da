// The words of the page, in English and in Traditional Chinese, and how numbers are written.

import { choice, state } from "./state.js";
import { minus } from "./dom.js";

const EN = {
  skip: "Skip to content", now: "Now", days: "Days", counters: "Counters", pages: "Pages", language: "中文", languageTo: "以中文顯示",
  theme: "Light or dark", themeAuto: "Auto", themeLight: "Light", themeDark: "Dark", wall: "Wall", wallTitle: "Show on a wall: only numbers and the curve",
  leaveWall: "Leave the wall view", token: "Token", tokenSet: "Token ✓", zone: "{zone}, days from {start}", zoneTitle: "All times are local times of this zone, which the server counts by",
  live: "live", connecting: "connecting", lost: "not live",
  gauge: "gauge", sum: "sum", unique: "unique users", presence: "presence",
  daily: "daily", window: "last {span}", never: "",
  yesterday: "Yesterday", lastWeek: "Last week", today: "Today",
  yesterdayAt: "Yesterday {time}", lastWeekAt: "Last week {time}", yesterdayBy: "Yesterday by {time}", lastWeekBy: "Last week by {time}",
  peakToday: "Peak today", peakEver: "Highest ever", at: "{value} at {time}", on: "{value} on {date}", unknown: "–",
  search: "Find a counter", pin: "Pin {name} to the front", unpin: "Unpin {name}", shownOf: "{shown} of {all} counters are shown; search, or pin what you watch.",
  noneFound: "No counter has “{q}” in its name.",
  firstTitle: "Nothing has been counted yet", firstText: "Count the first player from a terminal, and watch this page:",
  emptyTitle: "There are no counters yet", emptyText: "Count something from a terminal; the counter comes by itself:",
  curve: "The day of {name}: today, yesterday and last week, by local time", curveKeys: "Left and right arrows read the values along the curve.",
  table: "Show as a table", tableCaption: "{name} by local time", time: "Time",
  gap: "no data", events: "Events of today", notFollowed: "This counter's course is not recorded: at most samples.max_counters counters are followed.", noCourse: "The curve cannot be read now. It comes back by itself.",
  zoomed: "Whole day",
  settling: "settling: the server began a moment ago, and players are still being heard from",
  stale: "old value of {time}", corrupt: "cannot be read: its record is damaged (the server's log says more)", missing: "there is no such counter now", unknownHere: "not in the copy that is served",
  bannerLost: "Not connected since {time}. The numbers are from then; trying again.",
  bannerLost_host: "The server answers, but refuses pages of the host {host}: name it in server.hosts; where a proxy is in front, it has to pass the request's Host on.",
  bannerLost_upgrade: "The server answers, but lets no WebSocket in: a proxy in front has to pass Upgrade and Connection on; or push.max_connections are open.",
  bannerDenied: "The server asks for a token. Nothing is read until one is entered.", bannerForbidden: "Reading is refused. Nothing is asked for until another token is entered.", tryAgain: "Try again",
  bannerStale: "Numbers are from a copy ({source}) as of {time}: the store cannot be opened.", bannerStalePlain: "Numbers are from a copy and may be old: the store cannot be opened.",
  bannerReadOnly: "Nothing is counted since {time}: {cause}.", bannerSlow: "Counting waits for a slow disk since {time}. Nothing is lost.",
  bannerDraining: "The server is ending.", bannerRemedy: "What brings it back: {remedy}", bannerAlert: "{counter}: {summary}", since: "since {time}", runbook: "What to do",
  cause_space: "the disk is nearly full", cause_clock: "the clock jumped", cause_operator: "an operator has stopped it", cause_store_failed: "a write to the disk failed", cause_no_store: "the store cannot be opened",
  denied: "The server asks for a token", deniedText: "Reading needs the token auth.read_token, or the administrator's. It is kept for this tab alone.", tokenAdmin: "The token is kept for this tab alone. The administrator's serves for all; reading needs one only if auth.read_token is set.",
  tokenField: "Token", tokenUse: "Use it", tokenForget: "Forget it", tokenWrong: "The server does not know this token.", tokenWeak: "This token does not allow reading.", cancel: "Cancel", close: "Close",
  failed: "The server did not answer: {detail}", retrying: "Trying again.",
  day: "Day", final: "At the end", dayOverDay: "Day over day", peak: "Peak", low: "Low", added: "Added", taken: "Taken", operations: "Operations", eventCount: "Events", away: "Away", underWay: "under way", noChange: "no change", csv: "CSV", csvTitle: "Save these days as a CSV file",
  lastDays: "{n} days", counter: "Counter", daysCaption: "{name}, the last {n} days", unreadable: "cannot be read", noDays: "Nothing has been kept of this counter in these days.", awayMinutes: "{n} min",
  kind: "Kind", reset: "Reset", bounds: "Bounds", boundsText: "{min} to {max}", onBound: "At a bound", refuse: "refuse", clamp: "clamp", expires: "Expires", description: "Description", none: "none", neverWord: "never", dailyWord: "daily", ttl: "Lease", windowWord: "Window", grain: "Grain", value: "Value", lastChange: "Last change",
  recentEvents: "Events", noRecentEvents: "No events in the days that are kept.", more: "More", choose: "Choose a counter to see its definition and events.",
  event_creation: "created", event_reset: "reset", event_adjust: "adjusted", event_delete: "deleted", event_expiry: "expired", event_repair: "repaired", eventChange: "{before} → {after}",
  admin: "Administration", adminText: "With the administrator's token you can define, adjust, reset and silence.", enterToken: "Enter a token",
  define: "Define a counter", redefine: "Change the definition", defineDo: "Define", save: "Save", name: "Name", nameHint: "a–z, 0–9 and _ . : - ; begins with a letter or digit", min: "Lowest value", max: "Highest value", expiresHint: "Local time of the server; empty for never", windowHint: "Such as 1h; for “unique users” and “sum”", ttlHint: "Such as 90s; for “presence”",
  adjust: "Adjust the value", adjustTo: "Set to", adjustBy: "Move by", amount: "How much", reason: "Reason", reasonHint: "It is kept with the event", adjustDo: "Adjust",
  resetTitle: "Reset to 0", resetText: "The value becomes 0; a “unique users” counter counts everyone anew. This cannot be undone.", resetType: "Type {name} to confirm", resetDo: "Reset",
  silenceTitle: "Silence alerts", silenceText: "Nobody is told of alerts of this counter until then.", silenceFor: "For", silenceDo: "Silence", hours: "{n} h", minutes: "{n} min",
  doneDefine: "{name} is defined.", doneAdjust: "The value went from {before} to {after}.", doneReset: "The value was {before} and is 0 now.", doneSilence: "Silent until {time}.",
  openOutcome: "It is not known whether this was done ({detail}). Send it again, unchanged: it is done once, however often it is sent.",
  refused_unauthorized: "The server does not know this token.", refused_no_token: "This needs the administrator's token: enter it by “Token”.", refused_forbidden: "This token is not the administrator's.", refused_admin_disabled: "The server has no auth.admin_token: administration is off.", refused_defined_in_config: "This counter is defined in the configuration; change it there.",
  skippedTime: "The clocks skip this time on that day.", counterGone: "The counter is gone. Define it anew.", notAll: "There are too many counters to look through: those that begin with the text are found.",
  whole: "Give a whole number.", needed: "This is needed.", mustMatch: "This is not the counter's name.",
  licence: "Curves are drawn by uPlot", about: "counterd counts game activity exactly.",
};

const ZH = {
  skip: "跳至內容", now: "現況", days: "每日", counters: "計數器", pages: "頁面", language: "English", languageTo: "Show in English",
  theme: "淺色或深色", themeAuto: "自動", themeLight: "淺色", themeDark: "深色", wall: "看板", wallTitle: "看板模式：只顯示數字與曲線",
  leaveWall: "離開看板模式", token: "權杖", tokenSet: "權杖 ✓", zone: "{zone}，每日 {start} 起算", zoneTitle: "所有時間皆為伺服器計數所用時區的當地時間",
  live: "即時", connecting: "連線中", lost: "未連線",
  gauge: "可增可減", sum: "累計", unique: "不重複使用者", presence: "在線",
  daily: "每日歸零", window: "最近 {span}", never: "",
  yesterday: "昨日", lastWeek: "上週", today: "今日",
  yesterdayAt: "昨日 {time}", lastWeekAt: "上週 {time}", yesterdayBy: "昨日至 {time}", lastWeekBy: "上週至 {time}",
  peakToday: "今日最高", peakEver: "歷史最高", at: "{value}（{time}）", on: "{value}（{date}）", unknown: "–",
  search: "尋找計數器", pin: "將 {name} 釘選到最前", unpin: "取消釘選 {name}", shownOf: "共 {all} 個計數器，顯示其中 {shown} 個；請搜尋，或釘選您要看的。",
  noneFound: "沒有名稱含有「{q}」的計數器。",
  firstTitle: "還沒有任何計數", firstText: "在終端機計入第一位玩家，然後看著本頁：",
  emptyTitle: "還沒有計數器", emptyText: "在終端機計數一次，計數器就會自動建立：",
  curve: "{name} 的一天：今日、昨日與上週，依當地時間", curveKeys: "用左右方向鍵逐點讀取曲線。",
  table: "以表格顯示", tableCaption: "{name}，依當地時間", time: "時間",
  gap: "無資料", events: "今日事件", notFollowed: "未記錄此計數器的走勢：最多追蹤 samples.max_counters 個計數器。", noCourse: "目前無法讀取曲線，恢復後會自動顯示。",
  zoomed: "整天",
  settling: "回穩中：伺服器剛啟動，仍在等待玩家回報",
  stale: "{time} 的舊值", corrupt: "無法讀取：紀錄已損壞（詳見伺服器日誌）", missing: "目前沒有此計數器", unknownHere: "不在目前提供的副本中",
  bannerLost: "自 {time} 起未連線。以下為當時的數字；正在重試。",
  bannerLost_host: "伺服器有回應，但拒絕主機名稱 {host} 的頁面：請將它加入 server.hosts；若前面有代理伺服器，它必須轉送請求的 Host。",
  bannerLost_upgrade: "伺服器有回應，但 WebSocket 無法連上：前面的代理伺服器必須轉送 Upgrade 與 Connection；或 push.max_connections 已用完。",
  bannerDenied: "伺服器要求權杖。輸入之前不會讀取任何資料。", bannerForbidden: "讀取被拒。輸入其他權杖之前不會再讀取。", tryAgain: "再試一次",
  bannerStale: "數字來自副本（{source}），截至 {time}：資料庫無法開啟。", bannerStalePlain: "數字來自副本，可能已過時：資料庫無法開啟。",
  bannerReadOnly: "自 {time} 起停止計數：{cause}。", bannerSlow: "自 {time} 起因磁碟緩慢而等待寫入。沒有遺失任何計數。",
  bannerDraining: "伺服器正在關閉。", bannerRemedy: "恢復方式：{remedy}", bannerAlert: "{counter}：{summary}", since: "自 {time} 起", runbook: "處理方式",
  cause_space: "磁碟空間不足", cause_clock: "系統時鐘跳動", cause_operator: "由操作人員停止", cause_store_failed: "寫入磁碟失敗", cause_no_store: "資料庫無法開啟",
  denied: "伺服器要求權杖", deniedText: "讀取需要 auth.read_token 或管理者權杖。權杖只保留在此分頁。", tokenAdmin: "權杖只保留在此分頁。管理者權杖可用於所有操作；只有設定了 auth.read_token 時，讀取才需要權杖。",
  tokenField: "權杖", tokenUse: "使用", tokenForget: "清除", tokenWrong: "伺服器不認得此權杖。", tokenWeak: "此權杖不允許讀取。", cancel: "取消", close: "關閉",
  failed: "伺服器沒有回應：{detail}", retrying: "正在重試。",
  day: "日期", final: "日終值", dayOverDay: "與前一日相比", peak: "最高", low: "最低", added: "增加", taken: "減少", operations: "操作數", eventCount: "事件", away: "停機", underWay: "進行中", noChange: "無變動", csv: "CSV", csvTitle: "將這些日子存成 CSV 檔",
  lastDays: "{n} 天", counter: "計數器", daysCaption: "{name}，最近 {n} 天", unreadable: "無法讀取", noDays: "這段期間沒有此計數器的紀錄。", awayMinutes: "{n} 分",
  kind: "類型", reset: "歸零", bounds: "範圍", boundsText: "{min} 至 {max}", onBound: "到達界限時", refuse: "拒絕", clamp: "停在界限", expires: "到期", description: "說明", none: "無", neverWord: "永不", dailyWord: "每日", ttl: "租期", windowWord: "時間窗", grain: "刻度", value: "數值", lastChange: "最後變動",
  recentEvents: "事件", noRecentEvents: "保留的日子裡沒有事件。", more: "更多", choose: "選擇一個計數器以查看其定義與事件。",
  event_creation: "建立", event_reset: "歸零", event_adjust: "調整", event_delete: "刪除", event_expiry: "到期", event_repair: "修復", eventChange: "{before} → {after}",
  admin: "管理", adminText: "有管理者權杖即可定義、調整、歸零與靜音。", enterToken: "輸入權杖",
  define: "定義計數器", redefine: "修改定義", defineDo: "定義", save: "儲存", name: "名稱", nameHint: "a–z、0–9 與 _ . : - ；以字母或數字開頭", min: "最低值", max: "最高值", expiresHint: "伺服器當地時間；留空表示永不", windowHint: "例如 1h；用於「不重複使用者」與「累計」", ttlHint: "例如 90s；用於「在線」",
  adjust: "調整數值", adjustTo: "設為", adjustBy: "增減", amount: "數量", reason: "原因", reasonHint: "會與事件一起保存", adjustDo: "調整",
  resetTitle: "歸零", resetText: "數值會變成 0；「不重複使用者」會重新計算每個人。無法復原。", resetType: "請輸入 {name} 以確認", resetDo: "歸零",
  silenceTitle: "靜音警示", silenceText: "在此之前，此計數器的警示不會通知任何人。", silenceFor: "多久", silenceDo: "靜音", hours: "{n} 小時", minutes: "{n} 分鐘",
  doneDefine: "已定義 {name}。", doneAdjust: "數值由 {before} 變為 {after}。", doneReset: "數值原為 {before}，現在是 0。", doneSilence: "靜音至 {time}。",
  openOutcome: "不確定是否已完成（{detail}）。請原樣再送一次：無論送幾次都只會執行一次。",
  refused_unauthorized: "伺服器不認得此權杖。", refused_no_token: "這需要管理者權杖：請按「權杖」輸入。", refused_forbidden: "此權杖不是管理者權杖。", refused_admin_disabled: "伺服器未設定 auth.admin_token：管理功能關閉。", refused_defined_in_config: "此計數器定義於設定檔，請在該處修改。",
  skippedTime: "當天時鐘會跳過這個時間。", counterGone: "計數器已不存在，請重新定義。", notAll: "計數器太多，無法全部查找：只會找出以此文字開頭的。",
  whole: "請輸入整數。", needed: "此欄必填。", mustMatch: "與計數器名稱不符。",
  licence: "曲線由 uPlot 繪製", about: "counterd 精確計算遊戲活動。",
};

export const WORDS = { en: EN, "zh-TW": ZH };

const isChinese = (tag) => /^zh\b/i.test(tag);

/** The language in force: that of the address, else the one chosen before, else the browser's. */
export function language() {
  const chosen = state().lang ?? choice.get("lang");
  if (chosen) return isChinese(chosen) ? "zh-TW" : "en";
  const first = navigator.languages.find((tag) => isChinese(tag) || /^en\b/i.test(tag));
  return first && isChinese(first) ? "zh-TW" : "en";
}

/** How this browser's people write dates and numbers in that language. */
export function locale() {
  const wanted = language();
  if (wanted === "zh-TW") return wanted;
  return navigator.languages.find((tag) => tag.toLowerCase().startsWith("en")) ?? "en";
}

/** Says something in the language in force, with `{…}` filled in. */
export function t(key, values = {}) {
  const text = WORDS[language()][key] ?? EN[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

/** Whether there are words for this. */
export const knows = (key) => key in EN;

const formats = new Map();

function format(name, options) {
  const key = `${locale()} ${name}`;
  let made = formats.get(key);
  if (!made) formats.set(key, made = new Intl.NumberFormat(locale(), options));
  return made;
}

export const number = (value) => format("number", {}).format(value);
export const compact = (value) => format("compact", { notation: "compact", maximumFractionDigits: 1 }).format(value);
export const signed = (value) => format("signed", { signDisplay: "exceptZero" }).format(value);

/** The change from `before` to `value`, in per cent where that says something. */
export function delta(value, before) {
  const change = minus(value, before);
  const share = Number(change) / Math.abs(Number(before));
  const text = Number(before) === 0
    ? signed(change)
    : format("percent", { style: "percent", signDisplay: "exceptZero", maximumFractionDigits: Math.abs(share) < 0.1 ? 1 : 0 }).format(share);
  return { text, way: change > 0 ? "up" : change < 0 ? "down" : "same" };
}
