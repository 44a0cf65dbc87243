"""The upstreams' side: connections to models and peers, requests sent on, answers passed back."""
