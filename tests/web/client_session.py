"""Use the generated client against a server: run by its own interpreter, with the client on its path.

python client_session.py URL    prints what it found, as JSON
"""

import json
import sys

from reid_stream_client import Client
from reid_stream_client.api.people import list_people, show_person
from reid_stream_client.api.site import list_cameras

client = Client(base_url=sys.argv[1])
people = list_people.sync(client=client, limit=2)
journey = show_person.sync(person="shop-1", client=client)
missing = show_person.sync_detailed(person="shop-99", client=client)
print(
    json.dumps(
        {
            "people": [one.person for one in people.people],
            "total": people.total,
            "journey": [visit.camera for visit in journey.journey],
            "missing": [missing.status_code, missing.parsed.detail],
            "cameras": [one.camera for one in list_cameras.sync(client=client)],
        }
    )
)
