/** The keys of the configuration, for completion. Made by `python -m tools.generate`. */

/** @typedef {{ about?: string, values?: string[], keys?: Record<string, Known>, any?: Known }} Known */

/** @type {Known} */
// prettier-ignore
export const KEYS = {
 "keys": {
  "models": {
   "about": "the local models, in the order of the file",
   "any": {
    "keys": {
     "cmd": {
      "about": "the command that starts its server; `${PORT}` is the next free port, counted from `startPort`"
     },
     "cmdStop": {
      "about": "run instead of sending SIGTERM, to stop it; may use `${PID}`"
     },
     "cmdStatus": {
      "about": "exits with 0 while an earlier run has left something elsewhere (llamaswap only; see docs/clusters.md)"
     },
     "proxy": {
      "about": "where its server listens; with `announced` it says so itself (llamaswap only; see docs/clusters.md)"
     },
     "checkEndpoint": {
      "about": "path that answers 200 when it is ready; with `none` it counts as ready at once"
     },
     "env": {
      "about": "NAME=value, added to the environment of llamaswap; if a name comes twice, the later value counts"
     },
     "aliases": {
      "about": "further names"
     },
     "name": {
      "about": "shown in the list of models"
     },
     "description": {
      "about": "shown in the list of models"
     },
     "unlisted": {
      "about": "not in the list of models"
     },
     "ttl": {
      "about": "seconds without a request until it is unloaded; 0 never, -1 takes `globalTTL`"
     },
     "unloadTimeout": {
      "about": "seconds from `cmdStop` or SIGTERM to SIGKILL; 0 takes the global value"
     },
     "healthCheckTimeout": {
      "about": "seconds it may take to become ready; 0 takes the global value"
     },
     "queueTimeout": {
      "about": "with `proxy: announced`: seconds until it has to have said where it listens; 0 for as long as anybody waits for it (llamaswap only; see docs/clusters.md)"
     },
     "hungAfter": {
      "about": "seconds of silence after which its server, if it is sure to hang, is stopped when a request for another model has waited for `maxWait`; 0 never, -1 takes the global value (llamaswap only)"
     },
     "lostAfter": {
      "about": "where its server is not on this machine: seconds without an answer to its check after which a ready one counts as lost, and is ended; 0 never (llamaswap only; see docs/clusters.md)"
     },
     "pool": {
      "about": "a name for the machines elsewhere on which it runs: models with the same one make room for each other as members of a group with `whenQueued: evict` do (llamaswap only; see docs/clusters.md)"
     },
     "fallback": {
      "about": "models, aliases or peer models that answer, in this order, where it cannot (llamaswap only; docs/fleet.md)"
     },
     "useModelName": {
      "about": "the `model` that is sent upstream"
     },
     "concurrencyLimit": {
      "about": "with N > 0 the N+1st request is refused with 429"
     },
     "memory": {
      "about": "what it needs, where that is not to be measured: `18GB`, or for each device `{gpu: 18GB, ram: 2GB}`; devices are `ram`, `gpu`, and numbers and UUIDs of GPUs (llamaswap only; see docs/memory.md)"
     },
     "gpus": {
      "about": "with `use: memory` its GPUs are chosen for it: `auto` for as few as will do, a number for so many, or a list of numbers and UUIDs for just these (llamaswap only; see docs/memory.md)"
     },
     "pinned": {
      "about": "with `use: memory` it never goes to make room for another one (llamaswap only)"
     },
     "sleep": {
      "about": "it is put to sleep in place of being stopped where it has to make room, and woken when it is asked for; `vllm` is `{url: /sleep, level: 1, wake: /wake_up, check: /is_sleeping}` (llamaswap only; see docs/scheduling.md)",
      "keys": {
       "url": {
        "about": "path of its server; a POST to it has it sleep"
       },
       "level": {
        "about": "with N > 0 the path gets `level=N` as its query"
       },
       "wake": {
        "about": "path of its server; a POST to it has it wake"
       },
       "timeout": {
        "about": "seconds it may take to fall asleep; then it is stopped"
       },
       "cmd": {
        "about": "in place of `url`: run to have it sleep, as `cmdStop` is; may use `${PID}`"
       },
       "wakeCmd": {
        "about": "in place of `wake`: run to have it wake; may use `${PID}`"
       },
       "check": {
        "about": "path of its server that answers `{\"is_sleeping\": true}` while it sleeps, if it has one"
       }
      }
     },
     "sendLoadingState": {
      "about": "used instead of the global value"
     },
     "metadata": {
      "about": "anything, passed on to the list of models"
     },
     "macros": {
      "about": "macros of this model; they are used instead of global ones of the same name"
     },
     "filters": {
      "about": "changes to JSON bodies",
      "keys": {
       "stripParams": {
        "about": "names to remove, comma separated"
       },
       "setParams": {
        "about": "values to set"
       },
       "setParamsByID": {
        "about": "values to set by the name that was asked for; its keys become aliases of the model"
       },
       "strip_params": {
        "about": "older spelling of `stripParams`"
       }
      }
     },
     "timeouts": {
      "about": "limits of one exchange with its server",
      "keys": {
       "connect": {
        "about": "seconds to connect"
       },
       "keepalive": {
        "about": "seconds between TCP keep-alive probes"
       },
       "responseHeader": {
        "about": "seconds until the head of the answer"
       },
       "tlsHandshake": {
        "about": "seconds for the TLS handshake"
       },
       "expectContinue": {
        "about": "has no effect: no server is asked for `100 Continue`, because a body is sent on when all of it has come"
       },
       "idleConn": {
        "about": "seconds an idle connection is kept"
       }
      }
     },
     "compat": {
      "about": "settings that particular servers need",
      "keys": {
       "ignoreWebsockets": {
        "about": "WebSockets neither load the model nor keep it from being unloaded"
       }
      }
     },
     "capabilities": {
      "about": "what clients are told that it can do",
      "keys": {
       "in": {
        "about": "what it takes: text, audio, image",
        "any": {
         "values": [
          "text",
          "audio",
          "image"
         ]
        }
       },
       "out": {
        "about": "what it gives: text, audio, image",
        "any": {
         "values": [
          "text",
          "audio",
          "image"
         ]
        }
       },
       "tools": {
        "about": "it can call functions"
       },
       "reranker": {
        "about": "it reranks"
       },
       "context": {
        "about": "tokens of context; with 0 clients are told nothing"
       }
      }
     }
    }
   }
  },
  "healthCheckTimeout": {
   "about": "seconds a model may take to become ready; below 15 counts as 15"
  },
  "hungAfter": {
   "about": "seconds of silence after which a server that is sure to hang is stopped when a request for another model has waited longer than `maxWait`; 0 never (llamaswap only)"
  },
  "logLevel": {
   "about": "the lowest level that is logged",
   "values": [
    "debug",
    "info",
    "warn",
    "error"
   ]
  },
  "logTimeFormat": {
   "about": "format of the time before each line; empty for none",
   "values": [
    "",
    "ansic",
    "unixdate",
    "rubydate",
    "rfc822",
    "rfc822z",
    "rfc850",
    "rfc1123",
    "rfc1123z",
    "rfc3339",
    "rfc3339nano",
    "kitchen",
    "stamp",
    "stampmilli",
    "stampmicro",
    "stampnano"
   ]
  },
  "logToStdout": {
   "about": "which logs are shown on stdout",
   "values": [
    "proxy",
    "upstream",
    "both",
    "none"
   ]
  },
  "logRequests": {
   "about": "does nothing"
  },
  "store": {
   "about": "what is kept across restarts",
   "keys": {
    "path": {
     "about": "SQLite file that keeps activity across restarts"
    },
    "maxRows": {
     "about": "rows kept in that file, of which the oldest go; 0 for any number (llamaswap only)"
    },
    "maxAge": {
     "about": "seconds that rows are kept in that file; 0 for ever (llamaswap only)"
    }
   }
  },
  "metricsMaxInMemory": {
   "about": "rows of activity kept in memory; 0 or less means 1000"
  },
  "captureBuffer": {
   "about": "MB of captured requests and answers; 0 or less turns them off"
  },
  "ui": {
   "about": "the web page",
   "keys": {
    "activity": {
     "about": "the activity page",
     "keys": {
      "session_id": {
       "about": "request headers that name a session; [] for none"
      }
     }
    }
   }
  },
  "performance": {
   "about": "sampling of the machine",
   "keys": {
    "disabled": {
     "about": "no samples: `/api/performance` and `/api/hardware` are 503"
    },
    "every": {
     "about": "time between samples, with its unit; at least 5s"
    }
   }
  },
  "metrics": {
   "about": "`/metrics` (llamaswap only)",
   "keys": {
    "includeUpstreams": {
     "about": "the metrics of the servers of all ready models are told too, each with the label `model` (llamaswap only)"
    }
   }
  },
  "startPort": {
   "about": "the first automatic `${PORT}`"
  },
  "sendLoadingState": {
   "about": "a stream that waits for its model says what it waits for (docs/http.md)"
  },
  "includeAliasesInList": {
   "about": "the list of models has aliases too"
  },
  "globalTTL": {
   "about": "seconds without a request until a model is unloaded; 0 never"
  },
  "unloadTimeout": {
   "about": "seconds from `cmdStop` or SIGTERM to SIGKILL; 0 means 10"
  },
  "shutdownTimeout": {
   "about": "seconds that requests in progress and WebSockets get to finish when llamaswap shuts down (llamaswap only)"
  },
  "upgradeTimeout": {
   "about": "seconds after an upgrade in which the process before it may finish its requests; 0 as long as they take (llamaswap only)"
  },
  "macros": {
   "about": "values for `${name}` anywhere else"
  },
  "apiKeys": {
   "about": "each client must send one of these keys; a key has no spaces"
  },
  "apiKeyNames": {
   "about": "what a key is called in the activity; it is told by a tag otherwise (llamaswap only)"
  },
  "allowedHosts": {
   "about": "without `apiKeys`: further host names of this server, under which clients may ask for operations, logs, events, activity and configuration; `*.example.org` for all names below one, `*` for any (llamaswap only; see docs/http.md)"
  },
  "limits": {
   "about": "what clients may take (llamaswap only)",
   "keys": {
    "connections": {
     "about": "connections at once, of each process with `-workers`, fewer if the system's limit of open files is too low; beyond it others are closed to make room (docs/http.md says which); if all of them are being served, the newest is answered 503"
    },
    "idleTimeout": {
     "about": "seconds a connection may stay without a request"
    },
    "headTimeout": {
     "about": "seconds for the complete head of a request"
    },
    "bodyTimeout": {
     "about": "seconds between two pieces of a body; after that many seconds it also needs 1 KB/s on average"
    },
    "writeTimeout": {
     "about": "seconds for which a client may read nothing of its answer"
    },
    "maxBodyMB": {
     "about": "MB of a request's body, decoded; a body above 1 MB is kept in a file"
    },
    "maxJSONMB": {
     "about": "MB of a JSON body, decoded, which has to be in memory"
    },
    "spoolMB": {
     "about": "MB of answers that are kept for clients which read slowly while others wait for the model, so that it can be unloaded: of all answers together, a fourth of it of one; what is above 1 MB waits in a file; 0 keeps none"
    },
    "hops": {
     "about": "how many llamaswaps, as `peers` of one another, a request may have passed"
    }
   }
  },
  "upstream": {
   "about": "the routes under `/upstream/`",
   "keys": {
    "ignorePaths": {
     "about": "regular expressions (RE2) of paths under `/upstream/` that never load a model; of a path of more than 8192 characters only the first and the last 4096 count; empty means the default"
    }
   }
  },
  "hooks": {
   "about": "what llamaswap does by itself",
   "keys": {
    "on_startup": {
     "about": "when the server starts",
     "keys": {
      "preload": {
       "about": "models (ids or aliases) to load at start, in order, as far as they can run together; unknown ones are skipped"
      }
     }
    }
   }
  },
  "peers": {
   "about": "other servers whose models are offered here",
   "any": {
    "keys": {
     "proxy": {
      "about": "address of the other server"
     },
     "models": {
      "about": "its models, or those that it says it has"
     },
     "apiKey": {
      "about": "sent to it instead of the client's credentials"
     },
     "pooled": {
      "about": "requests for a name that others have too are shared (llamaswap only)"
     },
     "filters": {
      "about": "changes to JSON bodies",
      "keys": {
       "stripParams": {
        "about": "names to remove, comma separated"
       },
       "setParams": {
        "about": "values to set"
       },
       "setParamsByID": {
        "about": "values to set by the name that was asked for; its keys become aliases of the model"
       }
      }
     },
     "timeouts": {
      "about": "limits of one exchange, as for a model, but `responseHeader` is 60, and nothing for a llamaswap",
      "keys": {
       "connect": {
        "about": "seconds to connect"
       },
       "keepalive": {
        "about": "seconds between TCP keep-alive probes"
       },
       "responseHeader": {
        "about": "seconds until the head of the answer"
       },
       "tlsHandshake": {
        "about": "seconds for the TLS handshake"
       },
       "expectContinue": {
        "about": "has no effect: no server is asked for `100 Continue`, because a body is sent on when all of it has come"
       },
       "idleConn": {
        "about": "seconds an idle connection is kept"
       }
      }
     }
    }
   }
  },
  "selectors": {
   "about": "names that choose among models",
   "any": {
    "keys": {
     "strategy": {
      "about": "how a target is chosen (docs/fleet.md)",
      "values": [
       "pin",
       "warm",
       "spillover",
       "spread",
       "failover"
      ]
     },
     "targets": {
      "about": "models, aliases or peer models, at least one"
     },
     "settings": {
      "about": "for the strategies `spillover` and `spread` only",
      "keys": {
       "spillover": {
        "about": "requests per active target before the next one is started; at least 1, and 8 for `spread` unless set"
       },
       "sticky": {
        "about": "requests of a session, or with the same beginning of the prompt, go to the same target (llamaswap only; docs/fleet.md)",
        "values": [
         "none",
         "session",
         "prefix"
        ]
       }
      }
     },
     "fallback": {
      "about": "models, aliases or peer models that answer, in this order, where it cannot (llamaswap only; docs/fleet.md)"
     },
     "name": {
      "about": "shown in the list of models"
     },
     "description": {
      "about": "shown in the list of models"
     },
     "unlisted": {
      "about": "not in the list of models"
     },
     "metadata": {
      "about": "anything, passed on to the list of models"
     }
    }
   }
  },
  "profiles": {
   "about": "sets of pins, of which one may be active",
   "any": {
    "keys": {
     "description": {
      "about": "a description for people"
     },
     "pins": {
      "about": "name -> model, alias, peer model or selector; empty or null switches the name off"
     }
    }
   }
  },
  "routing": {
   "about": "which models may run side by side, and which request is served first",
   "keys": {
    "router": {
     "about": "which models may run side by side",
     "keys": {
      "use": {
       "about": "`group`, `matrix`, `memory` (docs/memory.md), or `path/to/file.py:ClassName` for an eviction policy of your own (docs/policies.md)"
      },
      "settings": {
       "about": "settings of each kind of router",
       "keys": {
        "groups": {
         "about": "with `use: group` or `memory`",
         "any": {
          "keys": {
           "members": {
            "about": "ids of models; a model is in one group"
           },
           "swap": {
            "about": "one member at a time"
           },
           "exclusive": {
            "about": "a request for a member unloads the models of other groups; with false, other groups may still unload its members (docs/scheduling.md)"
           },
           "persistent": {
            "about": "other groups never unload its members"
           },
           "whenQueued": {
            "about": "what the others do while a member of it is queued elsewhere: `evict` unloads the one that has been idle longest, one after the other, until the job of the member starts (llamaswap only; see docs/clusters.md)",
            "values": [
             "wait",
             "evict"
            ]
           }
          }
         }
        },
        "matrix": {
         "about": "with `use: matrix` or `memory`",
         "keys": {
          "vars": {
           "about": "short name -> id of a model"
          },
          "sets": {
           "about": "name -> expression of `&`, `|`, `()`, `+set` and names: what may run together"
          },
          "evict_costs": {
           "about": "the cost of unloading a model; 1 unless set"
          }
         }
        },
        "memory": {
         "about": "devices, and with `use: memory` what it goes by (llamaswap only)",
         "keys": {
          "devices": {
           "about": "`ram`, or a GPU by its number or UUID",
           "any": {
            "keys": {
             "capacity": {
              "about": "what there is of it; as measured unless set"
             },
             "reserve": {
              "about": "what is left free, a size or a share of the capacity; 5% unless set"
             },
             "yieldTo": {
              "about": "`others`: when other programs leave less than the reserve, idle models go",
              "values": [
               "nobody",
               "others"
              ]
             }
            }
           }
          },
          "minResidency": {
           "about": "seconds that a model stays after it was loaded, unless somebody has waited for `maxWait`"
          },
          "settleTimeout": {
           "about": "seconds for which a start waits at most until memory of a model that has ended is free; 0 for no wait"
          }
         }
        }
       }
      }
     }
    },
    "scheduler": {
     "about": "which request is served first",
     "keys": {
      "use": {
       "about": "`fifo`"
      },
      "settings": {
       "about": "settings of each kind of scheduler",
       "keys": {
        "fifo": {
         "about": "with `use: fifo`",
         "keys": {
          "priority": {
           "about": "model (id or alias) -> integer; higher is served first; 0 unless set"
          },
          "maxWait": {
           "about": "seconds after which a waiting request comes first, whatever its priority; 0 never"
          }
         }
        }
       }
      }
     }
    }
   }
  },
  "groups": {
   "about": "older spelling of `routing.router.settings.groups`",
   "any": {
    "keys": {
     "members": {
      "about": "ids of models; a model is in one group"
     },
     "swap": {
      "about": "one member at a time"
     },
     "exclusive": {
      "about": "a request for a member unloads the models of other groups; with false, other groups may still unload its members (docs/scheduling.md)"
     },
     "persistent": {
      "about": "other groups never unload its members"
     },
     "whenQueued": {
      "about": "what the others do while a member of it is queued elsewhere: `evict` unloads the one that has been idle longest, one after the other, until the job of the member starts (llamaswap only; see docs/clusters.md)",
      "values": [
       "wait",
       "evict"
      ]
     }
    }
   }
  },
  "matrix": {
   "about": "older spelling of `routing.router.settings.matrix`",
   "keys": {
    "vars": {
     "about": "short name -> id of a model"
    },
    "sets": {
     "about": "name -> expression of `&`, `|`, `()`, `+set` and names: what may run together"
    },
    "evict_costs": {
     "about": "the cost of unloading a model; 1 unless set"
    }
   }
  }
 }
};
